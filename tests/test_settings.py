"""A setting is used or refused by name: nothing that is given is without effect, or not finite."""

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import pytest
import torch

import zoo
from networks import small
from zoo.train.recipe import Recipe

NUMBERS = [f.name for f in fields(Recipe) if f.type == "float"]
X = torch.randn(4, 3, 32, 32)


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan")])
@pytest.mark.parametrize("name", NUMBERS)
def test_no_setting_of_training_is_infinite(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name}= is a finite number"):
        Recipe(**{name: value})


@pytest.mark.parametrize("value", [float("inf"), float("nan"), 0, 1.0])
@pytest.mark.parametrize("name", ["ratio", "macs", "parameters", "sparsity"])
def test_a_share_that_changes_nothing_is_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        zoo.compress(small("mobilenetv2_cifar"), "sparse" if name == "sparsity" else "pruned", **{name: value})


UNUSED: list[tuple[str, Callable[[], Any], str]] = [
    ("data of l2", lambda: zoo.compress(small("mobilenetv2_cifar"), "pruned", data=(X, torch.zeros(4))), "data="),
    (
        "importance of blocks",
        lambda: zoo.compress(small("gpt2"), "pruned", drop_blocks=("h0",), importance="l1"),
        "importance=",
    ),
    ("data of named blocks", lambda: zoo.compress(small("gpt2"), "pruned", drop_blocks=("h0",), data=X), "data="),
    ("no block", lambda: zoo.compress(small("gpt2"), "pruned", drop_blocks=0), "drop_blocks"),
    (
        "rows that are not there",
        lambda: zoo.compress(small("mobilenetv2_cifar"), "int8", calibration=X, keep_float=("late",)),
        "keep_float",
    ),
    ("another pass", lambda: zoo.compress(small("mobilenetv2_cifar"), "sparse", observer="mse"), "observer"),
    ("calibration of what ships", lambda: zoo.create("mobilenet-int8", calibration=X), "calibration="),
    ("calibration of fresh weights", lambda: zoo.create("mobilenet", weights=None, calibration=X), "calibration="),
]


@pytest.mark.parametrize(("call", "word"), [one[1:] for one in UNUSED], ids=[one[0] for one in UNUSED])
def test_what_would_change_nothing_is_refused_by_name(call: Callable[[], Any], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        call()
