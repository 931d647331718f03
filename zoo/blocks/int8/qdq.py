"""`arithmetic` in ONNX's own QuantizeLinear and DequantizeLinear, for `torch.onnx.export` alone.

Runtimes know the pattern codes -> floats -> operator -> codes, and run it in integers. The names are those of
`arithmetic`, whose text `Int8Layer` and the rows share.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.blocks.int8.arithmetic import Edge, Window
from zoo.blocks.int8.arithmetic import before_activation as before_activation
from zoo.blocks.int8.arithmetic import before_sum as before_sum

_ROOM = 2.0**30  # what a bias may reach, in units of its int32 code


def quantize(x: Tensor, edge: Edge) -> Tensor:
    """Floats to uint8 codes."""
    return _by_edge("QuantizeLinear", x, edge, torch.uint8)


def dequantize(codes: Tensor, edge: Edge) -> Tensor:
    """uint8 codes to floats."""
    return _by_edge("DequantizeLinear", codes, edge, torch.float32)


def convolve(codes: Tensor, source: Edge, weight: Tensor, scale: Tensor, bias: Tensor, window: Window) -> Tensor:
    """(B, C, H, W) codes to (B, O, ceil(H / stride), ceil(W / stride)) floats, before the activation."""
    x = dequantize(codes, source)
    left, right, top, bottom = window.borders(codes.shape[2:], weight.shape[-1])
    if (left, top) != (right, bottom):
        x = F.pad(x, (left, right, top, bottom))
        top = left = 0
    real_weight, real_bias = _weights(source, weight, scale, bias)
    return F.conv2d(x, real_weight, real_bias, window.stride, (top, left), window.dilation, window.groups)


def multiply(codes: Tensor, source: Edge, weight: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """(B, C) codes to (B, O) floats, before the activation."""
    return F.linear(dequantize(codes, source), *_weights(source, weight, scale, bias))


def multiply_floats(x: Tensor, weight: Tensor, scale: Tensor, bias: Tensor | None) -> Tensor:
    """(..., C) floats to (..., O) floats; runtimes choose how to multiply by integer weights (O, C)."""
    return F.linear(x, dequantize_weight(weight, scale).flatten(1), bias)


def mean(codes: Tensor, source: Edge) -> Tensor:
    """(B, C, H, W) codes to (B, C) floats."""
    return dequantize(codes, source).mean((2, 3))


def largest(codes: Tensor, edge: Edge, kernel_size: int, stride: int) -> Tensor:
    """(B, C, H, W) codes to the largest of each window, (B, C, ceil(H / stride), ceil(W / stride))."""
    return quantize(F.max_pool2d(dequantize(codes, edge), kernel_size, stride, kernel_size // 2), edge)


def dequantize_weight(weight: Tensor, scale: Tensor) -> Tensor:
    """int8 (O, ...) to floats, by output channel."""
    return _by_channel(weight, scale)


def whole_bias(source: Edge, weight: Tensor, scale: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(weight, scale, bias) with the bias in int32 codes on the scale of the products, as runtimes want it.

    A channel of hardly any weight gets a wider scale, on which its bias is a code.
    """
    wide = torch.maximum(scale, bias.abs() / (source.scale * _ROOM))
    codes = torch.round(weight.float() * (scale / wide).view(-1, *[1] * (weight.dim() - 1))).to(torch.int8)
    return codes, wide, torch.round(bias.double() / (wide.double() * source.scale)).to(torch.int32)


def _weights(source: Edge, weight: Tensor, scale: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Weights and bias as floats, of what `whole_bias` gave."""
    return _by_channel(weight, scale), _by_channel(bias, scale * source.scale)


def _by_edge(name: str, x: Tensor, edge: Edge, dtype: torch.dtype) -> Tensor:
    scale, zero = torch.tensor(edge.scale, dtype=torch.float32), torch.tensor(edge.zero, dtype=torch.uint8)
    return torch.onnx.ops.symbolic(name, (x, scale, zero), dtype=dtype, shape=x.shape)


def _by_channel(codes: Tensor, scale: Tensor) -> Tensor:
    # Zeros for zero points are left out: the exporter would let layers share them, and ONNX Runtime then fails.
    shape = codes.shape
    return torch.onnx.ops.symbolic("DequantizeLinear", (codes, scale), {"axis": 0}, dtype=torch.float32, shape=shape)
