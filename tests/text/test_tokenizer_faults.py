"""Whatever the tokenizers package raises, a panic too, is one error of ours."""

from __future__ import annotations

import base64
import json
import os
import struct
from pathlib import Path
from typing import Any

import pytest

import zoo
from zoo.registry import spec
from zoo.text.growth import MOST, growth
from zoo.text.native import TextError, native
from zoo.text.patterns import read_pattern
from zoo.text.tokenizer import TextPreprocess


class Panic(BaseException):
    """As PyO3's of a Rust panic."""


@pytest.mark.parametrize("error", [Panic("\x1b[2Jno entry"), RuntimeError("bad"), ValueError("bad")])
def test_what_the_package_raises_is_a_text_error(error: BaseException) -> None:
    with pytest.raises(TextError, match="cannot be read: ") as caught, native("This cannot be read"):
        raise error
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("times", "content", "grows"), [(40, "xx", True), (1, "x" * 2000, True), (5, "xx", False), (40, "y", False)]
)
def test_replacements_that_grow_without_bounds_are_found(times: int, content: str, grows: bool) -> None:
    one = {"type": "Replace", "pattern": {"String": "x"}, "content": content}
    nested = {"type": "Sequence", "normalizers": [{"type": "Sequence", "normalizers": [one] * times}]}
    assert (growth({"normalizer": nested, "pre_tokenizer": None}) > MOST) == grows


def template(times: int = 1, marks: int = 0, ids: int = 1) -> dict[str, object]:
    text, mark = {"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "<s>", "type_id": 0}}
    special = {"<s>": {"id": "<s>", "ids": [0] * ids, "tokens": ["<s>"] * ids}}
    return {
        "type": "TemplateProcessing",
        "single": [mark] * marks + [text] * times,
        "pair": [],
        "special_tokens": special,
    }


def replace(expression: str, length: int) -> dict[str, object]:
    return {"type": "Replace", "pattern": {"Regex": expression}, "content": "x" * length}


def charsmap(replacements: bytes, *, offset: int = 0, size: int = 256) -> str:
    """A table in which "a" becomes the first replacement; its other units lead to the trie's start."""
    units = [0] * size
    units[:1] = [offset << 10]
    if size > ord("a"):
        units[ord("a")] = ord("a") | 1 << 8  # the key ends: the value stands at this place without a further offset
        units[ord("a")] |= (ord("a") ^ 1) << 10
        units[1] = 1 << 31
    table = struct.pack(f"<{size}I", *units)
    return base64.b64encode(struct.pack("<I", len(table)) + table + replacements).decode()


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
        ("normalizer", replace("", 1000), True),
        ("normalizer", replace("b*", 1000), True),
        ("normalizer", replace("a|(?=b)", 1000), True),
        ("normalizer", replace("b+", 1000), False),
        ("normalizer", {"type": "Replace", "pattern": {"String": ""}, "content": "x" * 1000}, True),
        ("normalizer", {"type": "Sequence", "normalizers": [{"type": "ByteLevel"}] * 40}, True),
        ("normalizer", {"type": "Sequence", "normalizers": [{"type": "NFKD"}, replace(" {2,}", 1)]}, False),
        ("normalizer", {"type": "Precompiled", "precompiled_charsmap": charsmap(b"x" * 2000)}, True),
        ("normalizer", {"type": "Precompiled", "precompiled_charsmap": charsmap(b"\0" + b"x" * 2000)}, False),
    ],
)  # fmt: skip
def test_whatever_makes_a_text_longer_is_counted(part: str, found: dict[str, object], grows: bool) -> None:
    assert (growth({part: found}) > MOST) == grows


def test_what_grows_is_refused_before_a_text_is_read() -> None:
    text = json.dumps({"post_processor": template(times=100_000)})
    with pytest.raises(TextError, match="more than 1,000 characters or tokens of one"):
        TextPreprocess(spec("gpt2"), text)


@pytest.mark.parametrize("text", ["[" * 100_000, "no JSON", "3", "[]", '{"normalizer": ' * 300 + "1" + "}" * 300])
def test_a_damaged_tokenizer_is_one_error(text: str) -> None:
    with pytest.raises(TextError, match="cannot be read"):
        TextPreprocess(spec("gpt2"), text)


def test_an_interrupt_stays_one() -> None:
    with pytest.raises(KeyboardInterrupt), native("This cannot be read"):
        raise KeyboardInterrupt


def word_level(**parts: object) -> str:
    model = {"type": "WordLevel", "vocab": {"[UNK]": 0, "a": 1}, "unk_token": "[UNK]"}
    empty = dict.fromkeys(("truncation", "padding", "normalizer", "pre_tokenizer", "post_processor", "decoder"))
    return json.dumps({"version": "1.0", "added_tokens": [], "model": model, **empty, **parts})


def bpe(prefix: str, second: str) -> dict[str, object]:
    vocab = {"a": 0, second: 1, "ax": 2}
    return {"type": "BPE", "vocab": vocab, "merges": [["a", second]], "continuing_subword_prefix": prefix}


def text_template(single: list[object], **special: object) -> dict[str, object]:
    return {"type": "TemplateProcessing", "single": single, "pair": [], "special_tokens": special}


@pytest.mark.parametrize(
    ("parts", "why"),
    [
        ({"normalizer": {"type": "Precompiled", "precompiled_charsmap": "////"}}, "no table of characters"),
        ({"normalizer": {"type": "Precompiled", "precompiled_charsmap": "ab!"}}, "no base64"),
        ({"normalizer": {"type": "Precompiled", "precompiled_charsmap": charsmap(b"\xff")}}, "no UTF-8"),
        ({"normalizer": {"type": "Precompiled", "precompiled_charsmap": charsmap(b"x", offset=256)}}, "out of it"),
        ({"normalizer": {"type": "Precompiled", "precompiled_charsmap": charsmap(b"x", size=4)}}, "out of it"),
        ({"pre_tokenizer": {"type": "FixedLength", "length": 0}}, "of no characters"),
        ({"post_processor": text_template([{"Sequence": {"id": "B", "type_id": 0}}])}, "names the text 'B'"),
        ({"post_processor": text_template([{"SpecialToken": {"id": "no", "type_id": 0}}])}, "is no special token"),
        ({"model": bpe("####", "x")}, "lacks the prefix"),
        ({"model": bpe("#", "\u00e9")}, "lacks the prefix"),
    ],
)
def test_what_would_panic_or_abort_is_refused_before(
    parts: dict[str, object], why: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(TextError, match=f"cannot be read: .*{why}"):
        TextPreprocess(spec("gpt2"), word_level(**parts))
    assert "panicked" not in capfd.readouterr().err


def test_a_table_of_characters_is_used_as_the_package_uses_it() -> None:
    table = {"type": "Precompiled", "precompiled_charsmap": charsmap("\u00e9\u00e9\u00e9\0more".encode())}
    assert growth({"normalizer": table}) == 3
    prepare = TextPreprocess(spec("gpt2"), word_level(normalizer=table))
    assert prepare._tokenizer.normalizer.normalize_str("ab") == "\u00e9\u00e9\u00e9b"


@pytest.mark.parametrize(
    ("expression", "empty", "runaway"),
    [
        ("(x+x+)+y", False, True),
        ("((a+)b)*", True, True),
        ("(?:a+)++", False, True),
        ("(?>a+)+b", False, False),
        ("(?:a++b)+", False, False),
        (r"(?=(\d{3})+(?!\d))", True, False),
        (r"[^(\s|[.,!?])]+(?# (a+)+ )", False, False),
        (r"'(?i:[sdmt]|ll)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}|\s*[\r\n]|\s+(?!\S)|\s+", False, False),
        ("a|b*", True, False),
        (r"\bx?", True, False),
        (r"x\K", True, False),
        ("a{,2}", True, False),
        ("a{2}", False, False),
        ("(", True, False),
        ("", True, False),
    ],
)
def test_expressions_are_read(expression: str, empty: bool, runaway: bool) -> None:
    assert read_pattern(expression) == (empty, runaway)


def test_a_panic_at_a_text_says_nothing_beside_its_error(capfd: pytest.CaptureFixture[str]) -> None:
    split = {"type": "Split", "pattern": {"Regex": "(x+x+)+y"}, "behavior": "Isolated", "invert": False}
    prepare = TextPreprocess(spec("gpt2"), word_level(pre_tokenizer=split))
    with pytest.raises(TextError, match="cannot be read by the tokenizer"):
        prepare("x" * 40 + "!")
    assert capfd.readouterr().err == ""
    with native("no", panics=True):
        os.write(2, b"another thread's line\n")
    assert capfd.readouterr().err == "another thread's line\n"


@pytest.mark.parametrize(("tokenizer", "message"), [(None, "not NoneType"), (5, "not int"), ("{broken", "no JSON")])
def test_what_is_no_tokenizer_is_not_saved(tokenizer: Any, message: str, tmp_path: Path) -> None:
    model = zoo.create("bert_tiny", weights=None)
    model.tokenizer = tokenizer
    with pytest.raises(ValueError, match=message):
        zoo.save(model, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(ValueError, match="tokenizer"):
        zoo.preprocess(model)("text")
