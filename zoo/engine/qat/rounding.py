"""int8's roundings with gradients: forward the numbers of `zoo.engine.arithmetic`, backward straight through.

Everything is float32, under autocast too: half precision cannot hold 256 codes times a scale.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from zoo.engine.arithmetic import quantize_weight


class LearnedQParams(NamedTuple):
    """`QParams` whose scale is learned: real value = scale * (code - zero_point), both tensors of no axes."""

    scale: Tensor
    zero_point: Tensor


def fake_quantize(x: Tensor, qparams: LearnedQParams) -> Tensor:
    """Floats to the floats that their uint8 codes on `qparams` stand for, bit for bit as int8 reads them."""
    return _Activation.apply(x, qparams.scale, qparams.zero_point)


def fake_quantize_weight(weight: Tensor) -> Tensor:
    """(O, ...) floats to the floats that their int8 codes stand for, one scale an output channel."""
    return _Weight.apply(weight)


class _Activation(torch.autograd.Function):
    """LSQ (Esser et al., 2020), with the zero point held.

    The gradient of x is passed inside of the range and 0 outside; that of the scale is (y - x) / scale inside and
    code - zero at the ends, over sqrt(values * 255), which keeps its steps in proportion to those of the weights.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, zero: Tensor) -> Tensor:
        free = (x.float() * scale.reciprocal()).round_().add_(zero)
        codes = free.clamp(0, 255)
        inside = codes == free
        y = codes.sub_(zero).mul_(scale)
        ctx.save_for_backward(x, y, inside, scale)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, y, inside, scale = ctx.saved_tensors
        of_x = of_scale = None
        if ctx.needs_input_grad[0]:
            of_x = (gradient * inside).to(x.dtype)
        if ctx.needs_input_grad[1]:
            slope = torch.where(inside, y - x, y)
            of_scale = (slope * gradient).sum() / (scale * math.sqrt(max(x.numel(), 1) * 255))
        return of_x, of_scale, None


class _Weight(torch.autograd.Function):
    """Straight through everywhere: the largest weight sets the range, so none lies outside."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor) -> Tensor:
        codes, scale = quantize_weight(weight)
        return codes.float() * scale.view(-1, *[1] * (weight.dim() - 1))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient
