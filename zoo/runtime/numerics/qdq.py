"""`arithmetic` in ONNX's own QuantizeLinear and DequantizeLinear, for `torch.onnx.export` alone.

Runtimes know the pattern codes -> floats -> operator -> codes, and run it in integers. The names are those of
`zoo.engine.arithmetic`.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.engine.arithmetic import QParams, Window
from zoo.runtime.numerics.exported import Exported

_ROOM = 2.0**30  # what a bias may reach, in units of its int32 code


def quantize(x: Tensor, qparams: QParams) -> Tensor:
    """Floats to uint8 codes."""
    return _per_tensor("QuantizeLinear", x, qparams, torch.uint8)


def dequantize(codes: Tensor, qparams: QParams) -> Tensor:
    """uint8 codes to floats."""
    return _per_tensor("DequantizeLinear", codes, qparams, torch.float32)


def convolve(codes: Tensor, source: QParams, weight: Tensor, scale: Tensor, bias: Tensor, window: Window) -> Tensor:
    """(B, C, H, W) codes to (B, O, ceil(H / stride), ceil(W / stride)) floats, before the activation."""
    x = dequantize(codes, source)
    left, right, top, bottom = window.borders(codes.shape[2:], weight.shape[-1])
    if (left, top) != (right, bottom):
        x = F.pad(x, (left, right, top, bottom))
        top = left = 0
    real_weight, real_bias = _weights(source, weight, scale, bias)
    return F.conv2d(x, real_weight, real_bias, window.stride, (top, left), window.dilation, window.groups)


def multiply(codes: Tensor, source: QParams, weight: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """(B, C) codes to (B, O) floats, before the activation."""
    return F.linear(dequantize(codes, source), *_weights(source, weight, scale, bias))


def multiply_floats(x: Tensor, weight: Tensor, scale: Tensor, bias: Tensor | None) -> Tensor:
    """(..., C) floats to (..., O) floats; runtimes choose how to multiply by integer weights (O, C)."""
    return F.linear(x, dequantize_weight(weight, scale).flatten(1), bias)


def mean(codes: Tensor, source: QParams) -> Tensor:
    """(B, C, H, W) codes to (B, C) floats."""
    return dequantize(codes, source).mean((2, 3))


def dequantize_weight(weight: Tensor, scale: Tensor) -> Tensor:
    """int8 (O, ...) to floats, by output channel."""
    return _by_channel(weight, scale)


def whole_bias(source: QParams, weight: Tensor, scale: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(weight, scale, bias) with the bias in int32 codes on the scale of the products, as runtimes want it.

    A channel of hardly any weight gets a wider scale, on which its bias is a code.
    """
    wide = torch.maximum(scale, bias.abs() / (source.scale * _ROOM))
    codes = torch.round(weight.float() * (scale / wide).view(-1, *[1] * (weight.dim() - 1))).to(torch.int8)
    return codes, wide, torch.round(bias.double() / (wide.double() * source.scale)).to(torch.int32)


def _weights(source: QParams, weight: Tensor, scale: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Weights and bias as floats, of what `whole_bias` gave."""
    return _by_channel(weight, scale), _by_channel(bias, scale * source.scale)


def _per_tensor(name: str, x: Tensor, qparams: QParams, dtype: torch.dtype) -> Tensor:
    scale, zero = torch.tensor(qparams.scale, dtype=torch.float32), torch.tensor(qparams.zero_point, dtype=torch.uint8)
    return torch.onnx.ops.symbolic(name, (x, scale, zero), dtype=dtype, shape=x.shape)


def _by_channel(codes: Tensor, scale: Tensor) -> Tensor:
    # Zeros for zero points are left out: the exporter would let layers share them, and ONNX Runtime then fails.
    shape = codes.shape
    return torch.onnx.ops.symbolic("DequantizeLinear", (codes, scale), {"axis": 0}, dtype=torch.float32, shape=shape)


class Qdq(Exported):
    """int8 in ONNX's QuantizeLinear and DequantizeLinear (`zoo.engine.numerics.Numerics`)."""

    quantize = staticmethod(quantize)
    dequantize = staticmethod(dequantize)
    convolve = staticmethod(convolve)
    multiply = staticmethod(multiply)
    multiply_floats = staticmethod(multiply_floats)
    mean = staticmethod(mean)


QDQ = Qdq()
