"""A linear layer that is quick for one token too, as each step of a generation asks."""

from __future__ import annotations

import functools
import platform
from pathlib import Path

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from zoo.blocks.traced import traced

SLICES = 4  # of a weight, for as many threads: a product with one vector uses one thread in some libraries


class Linear(nn.Linear):
    """`nn.Linear` by `product`."""

    def forward(self, x: Tensor) -> Tensor:
        return product(x, self.weight, self.bias)


class Multiplying(nn.Module):
    """A module that calls its linear layers by `product`: forms of it in other numbers compute these otherwise."""

    def finish(self) -> None:
        """The last step of `__init__`, for forms that hold more."""

    def product(self, layer: nn.Module, x: Tensor, place: int) -> Tensor:
        """What the layer gives; `place` counts the layers from 0."""
        return layer(x)  # type: ignore[no-any-return]


@functools.cache
def slices_are_quicker() -> bool:
    """Slices take up to 1.6 times less time on an AMD EPYC, and twice the time on Intel's processors, for which MKL is
    made."""
    if not torch.backends.mkl.is_available():
        return True
    try:
        told = Path("/proc/cpuinfo").read_text(encoding="utf-8")[:4096]
    except OSError:
        told = platform.processor()
    return "GenuineIntel" not in told


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`F.linear`; for one float32 vector on a CPU, without gradients, in slices where they are quicker."""
    one = x.numel() == weight.shape[1] and weight.shape[0] >= SLICES and slices_are_quicker()
    if not one or x.device.type != "cpu" or torch.is_grad_enabled() or traced():
        return F.linear(x, weight, bias)
    if x.dtype != torch.float32 or weight.dtype != torch.float32 or torch.is_autocast_enabled("cpu"):
        return F.linear(x, weight, bias)
    outputs, width = weight.shape
    each = outputs // SLICES
    vector = x.reshape(1, width)
    # A column of strides (1, width), not (1, 1): that takes half of the time.
    column = vector.t().expand(SLICES, width, 1)
    y = torch.bmm(weight[: SLICES * each].view(SLICES, each, width), column).view(-1)
    if SLICES * each < outputs:
        y = torch.cat([y, weight[SLICES * each :] @ vector[0]])
    y = y if bias is None else y.add_(bias)
    return y.view(*x.shape[:-1], outputs)
