"""A decoder continues plain strings, as it continues their tokens."""

from __future__ import annotations

from typing import Any

import pytest
import torch

pytest.importorskip("tokenizers")

import text_data
import zoo

PROMPTS = ["a film of", "the plot", "good"]


@pytest.fixture(scope="module")
def model() -> Any:
    return text_data.decoder()


def test_a_string_gives_the_text_of_its_tokens(model: Any) -> None:
    prepare = zoo.preprocess(model)
    for prompt in PROMPTS:
        ids = model.generate(prepare(prompt)["input_ids"], max_new_tokens=5)
        assert model.generate(prompt, max_new_tokens=5) == prepare.decode(ids[0])


def test_several_are_computed_together_and_come_back_in_order(model: Any) -> None:
    together = model.generate(PROMPTS, max_new_tokens=5)
    assert together == [model.generate(prompt, max_new_tokens=5) for prompt in PROMPTS]
    assert model.generate([]) == []


def test_a_text_ends_before_its_stop_token(model: Any) -> None:
    ids = model.generate(zoo.preprocess(model)(PROMPTS[0])["input_ids"], max_new_tokens=1)
    assert model.generate(PROMPTS[0], stop_tokens=[int(ids[0, -1])]) == PROMPTS[0]


def test_dropout_is_off(model: Any) -> None:
    model.train()
    try:
        assert len({model.generate(PROMPTS[0], max_new_tokens=5) for _ in range(3)}) == 1 and model.training
    finally:
        model.eval()


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ("", "not one token"),
        (["good", ""], "Prompt 2 of 2 is empty"),
        ("good " * 40, "positions for 16 tokens, not for 40"),
        (["good", 3], "not int .text 2."),
        (b"good", "a string or a list of strings, not bytes"),
        (None, "not NoneType"),
        (("good", "good"), "A tuple may be one pair"),
        ("good \ud800", "half of a character"),
    ],
)
def test_what_is_no_prompt_is_refused(model: Any, prompts: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        model.generate(prompts, max_new_tokens=2)


def test_a_mask_is_for_tokens(model: Any) -> None:
    with pytest.raises(ValueError, match="Strings need none"):
        model.generate("good", torch.ones(1, 1))


def test_a_text_that_ends_for_want_of_positions_says_so(model: Any) -> None:
    with pytest.warns(UserWarning, match="has 16 positions: texts end after 13 new tokens, not 50"):
        model.generate("a film of", max_new_tokens=50, stop_tokens=())
