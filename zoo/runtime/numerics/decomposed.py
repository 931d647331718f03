"""`arithmetic` in torch's own quantize and dequantize operators, for ExecuTorch and its XNNPACK alone.

XNNPACK runs codes -> floats -> operator -> codes in integers, where codes stand on both sides of one convolution and at
most a rectifier; linear layers also from floats to floats, which it makes codes of as they come. So what the reference
rounds once, before and after another activation or a sum, is rounded twice here.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.engine.arithmetic import QParams, Window, slide
from zoo.runtime.numerics import unrounded
from zoo.runtime.numerics.exported import Exported

_zeros: ContextVar[dict[int, Iterator[Tensor]]] = ContextVar("zeros")


def quantize(x: Tensor, qparams: QParams) -> Tensor:
    """Floats to uint8 codes."""
    return torch.ops.quantized_decomposed.quantize_per_tensor.default(
        x, qparams.scale, qparams.zero_point, 0, 255, torch.uint8
    )


def dequantize(codes: Tensor, qparams: QParams) -> Tensor:
    """uint8 codes to floats."""
    operator = torch.ops.quantized_decomposed.dequantize_per_tensor.default
    return operator(codes, qparams.scale, qparams.zero_point, 0, 255, torch.uint8)


def convolve(codes: Tensor, source: QParams, weight: Tensor, scale: Tensor, bias: Tensor, window: Window) -> Tensor:
    """(B, C, H, W) codes to (B, O, ceil(H / stride), ceil(W / stride)) floats, before the activation."""
    x = dequantize(codes, source)
    if weight.is_floating_point():
        x = F.hardtanh(x, *source.ends)  # changes nothing, but that XNNPACK does not pad the codes
    return slide(x, dequantize_weight(weight, scale), bias, window)


def multiply(codes: Tensor, source: QParams, weight: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """(B, C) codes to (B, O) floats, before the activation."""
    return multiply_floats(dequantize(codes, source), weight, scale, bias)


def multiply_floats(x: Tensor, weight: Tensor, scale: Tensor, bias: Tensor | None) -> Tensor:
    """(..., C) floats to (..., O) floats, every row of `x` in codes on a scale of its own."""
    operators, ends = torch.ops.quantized_decomposed, (-128, 127, torch.int8)
    of_row, zero = operators.choose_qparams_per_token_asymmetric.default(x, torch.int8)
    codes = operators.quantize_per_token.default(x, of_row, zero, *ends)
    x = operators.dequantize_per_token.default(codes, of_row, zero, *ends, torch.float32)
    return F.linear(x, dequantize_weight(weight, scale), bias)


def mean(codes: Tensor, source: QParams) -> Tensor:
    """(B, C, H, W) codes to (B, C) floats."""
    return dequantize(codes, source).mean((-1, -2), keepdim=True).flatten(1)


def dequantize_weight(weight: Tensor, scale: Tensor) -> Tensor:
    """int8 (O, ...) to floats, by output channel; floats stay."""
    if weight.is_floating_point():
        return weight
    operator = torch.ops.quantized_decomposed.dequantize_per_channel.default
    return operator(weight, scale, next(_zeros.get()[len(scale)]), 0, -127, 127, torch.int8)


@contextmanager
def zero_points(counts: Iterable[int]) -> Iterator[None]:
    """While open, weights of so many channels each have their zero points: constants, which no two may share."""
    pool = {
        count: iter([torch.zeros(count, dtype=torch.int64) for _ in range(many)])
        for count, many in Counter(counts).items()
    }
    token = _zeros.set(pool)
    try:
        yield
    finally:
        _zeros.reset(token)


class Decomposed(Exported):
    """int8 in torch's own quantize and dequantize operators (`zoo.engine.numerics.Numerics`)."""

    quantize = staticmethod(quantize)
    dequantize = staticmethod(dequantize)
    convolve = staticmethod(convolve)
    multiply = staticmethod(multiply)
    multiply_floats = staticmethod(multiply_floats)
    mean = staticmethod(mean)

    def before_activation(
        self, y: Tensor, activation: str, target: QParams | None, skip_qparams: QParams | None, after: str
    ) -> Tensor:
        """A convolution's floats, rounded where XNNPACK's convolution does not know the activation that follows."""
        if target is None or activation in unrounded.FUSED:
            return y
        return self.rounded(y, unrounded.activation_input_qparams(activation, target, skip_qparams, after))


DECOMPOSED = Decomposed()
