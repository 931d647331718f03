"""Fused layers in packed convolutions, the activation and a sum inside."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from zoo.engine import arithmetic
from zoo.engine.arithmetic import Size
from zoo.engine.cpu import packed
from zoo.engine.execution import forced

if TYPE_CHECKING:
    from zoo.engine.leaf import Leaf


def packs(x: Tensor) -> bool:
    """Whether `x` goes through packed weights: on the CPU, for inference, where torch has the operators."""
    return (
        x.device.type == "cpu"
        and x.dtype == torch.float32
        and not x.requires_grad
        and not forced()
        and packed.available()
    )


def function(leaf: Leaf, size: Size, *, adds: bool, after: str) -> Callable[..., Tensor]:
    """The convolution for maps of `size`, as a function of `x`, or where it `adds` of `x` and a `skip`, which stays."""
    return leaf.remember((size[0], size[1], adds, after), lambda: _made(leaf, size, adds, after))


def _made(leaf: Leaf, size: Size, adds: bool, after: str) -> Callable[..., Tensor]:
    if adds and leaf.activation != "none":
        convolve = function(leaf, size, adds=False, after="none")
        return lambda x, skip: arithmetic.activate(convolve(x).add_(skip), after)
    activation = after if adds else leaf.activation
    return packed.convolution(leaf.weight, leaf.bias, window=leaf.window, size=size, activation=activation, adds=adds)
