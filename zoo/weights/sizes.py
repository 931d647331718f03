"""Sizes and choices in a config.json of transformers' language models. No torch."""

from __future__ import annotations

from typing import Any

from zoo.spec import SpecError

GENERATES = "generation_config.json"
ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
    "silu": "swish",
    "swish": "swish",
}
DEEPEST = 512  # blocks


def activation_of(name: Any) -> str:
    """The zoo's name of one of transformers' activations."""
    if not isinstance(name, str) or name not in ACTIVATIONS:
        raise SpecError(f"its activation {str(name)[:60]!r} is none of {sorted(ACTIVATIONS)}")
    return ACTIVATIONS[name]


def depth_of(value: Any) -> int:
    """Check a number of blocks before rows are made: a hostile number would make as many rows."""
    if whole(value) > DEEPEST:
        raise SpecError(f"it has {value} blocks, and more than {DEEPEST} are refused")
    return whole(value)


def whole(value: Any) -> int:
    """A size in config.json; raises SpecError for any other value."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise SpecError(f"a size in config.json is {str(value)[:60]!r}, not a whole number")
    return value
