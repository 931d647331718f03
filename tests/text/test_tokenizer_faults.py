"""Whatever the tokenizers package raises, a panic too, is one error of ours."""

from __future__ import annotations

import json

import pytest

from zoo.registry import spec
from zoo.text.growth import MOST, growth
from zoo.text.tokenizer import TextError, TextPreprocess, _native


class Panic(BaseException):
    """As PyO3's of a Rust panic."""


@pytest.mark.parametrize("error", [Panic("\x1b[2Jno entry"), RuntimeError("bad"), ValueError("bad")])
def test_what_the_package_raises_is_a_text_error(error: BaseException) -> None:
    with pytest.raises(TextError, match="cannot be read: ") as caught, _native("This cannot be read"):
        raise error
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("times", "content", "grows"), [(40, "xx", True), (1, "x" * 2000, True), (5, "xx", False), (40, "y", False)]
)
def test_replacements_that_grow_without_bounds_are_found(times: int, content: str, grows: bool) -> None:
    one = {"type": "Replace", "pattern": {"String": "x"}, "content": content}
    nested = {"type": "Sequence", "normalizers": [{"type": "Sequence", "normalizers": [one] * times}]}
    assert (growth(json.dumps({"normalizer": nested, "pre_tokenizer": None})) > MOST) == grows


def template(times: int = 1, marks: int = 0, ids: int = 1) -> dict[str, object]:
    text, mark = {"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "<s>", "type_id": 0}}
    special = {"<s>": {"id": "<s>", "ids": [0] * ids, "tokens": ["<s>"] * ids}}
    return {
        "type": "TemplateProcessing",
        "single": [mark] * marks + [text] * times,
        "pair": [],
        "special_tokens": special,
    }


@pytest.mark.parametrize(
    ("part", "found", "grows"),
    [
        ("normalizer", {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "a" * 100}] * 2}, True),
        ("normalizer", {"type": "Prepend", "prepend": "\u2581"}, False),
        ("post_processor", template(times=100_000), True),
        ("post_processor", {"type": "Sequence", "processors": [template(times=40)] * 2}, True),
        ("post_processor", template(marks=600, ids=2), True),
        ("post_processor", {"type": "Sequence", "processors": [template(marks=2), template()]}, False),
        ("decoder", {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "x"}, "content": "xx"}] * 20}, True),
        ("model", {"type": "WordPiece", "continuing_subword_prefix": "#" * 2000}, True),
        ("model", {"type": "WordPiece", "continuing_subword_prefix": "##"}, False),
    ],
)  # fmt: skip
def test_whatever_makes_a_text_longer_is_counted(part: str, found: dict[str, object], grows: bool) -> None:
    assert (growth(json.dumps({part: found})) > MOST) == grows


def test_what_grows_is_refused_before_a_text_is_read() -> None:
    text = json.dumps({"post_processor": template(times=100_000)})
    with pytest.raises(TextError, match="more than 1,000 characters or tokens of one"):
        TextPreprocess(spec("gpt2"), text)


def test_a_damaged_tokenizer_is_left_to_the_package() -> None:
    assert growth("[" * 100_000) == growth("no JSON") == growth("3") == 1


def test_an_interrupt_stays_one() -> None:
    with pytest.raises(KeyboardInterrupt), _native("This cannot be read"):
        raise KeyboardInterrupt
