"""`arithmetic` in torch's own quantize and dequantize operators, for ExecuTorch and its XNNPACK alone.

XNNPACK runs codes -> floats -> operator -> codes in integers, where codes stand on both sides of one convolution and at
most a rectifier; linear layers also from floats to floats, which it makes codes of as they come. So what `arithmetic`
rounds once, before and after another activation or a sum, is rounded twice here. The names are those of `arithmetic`.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.blocks.int8.arithmetic import Edge, Window, activate, slide

_zeros: ContextVar[dict[int, Iterator[Tensor]]] = ContextVar("zeros")
_FUSED = ("none", "relu", "relu6")
_LEAST = 1e-6  # width of a range that nothing lies in


def quantize(x: Tensor, edge: Edge) -> Tensor:
    """Floats to uint8 codes."""
    return torch.ops.quantized_decomposed.quantize_per_tensor.default(x, edge.scale, edge.zero, 0, 255, torch.uint8)


def dequantize(codes: Tensor, edge: Edge) -> Tensor:
    """uint8 codes to floats."""
    operator = torch.ops.quantized_decomposed.dequantize_per_tensor.default
    return operator(codes, edge.scale, edge.zero, 0, 255, torch.uint8)


def convolve(codes: Tensor, source: Edge, weight: Tensor, scale: Tensor, bias: Tensor, window: Window) -> Tensor:
    """(B, C, H, W) codes to (B, O, ceil(H / stride), ceil(W / stride)) floats, before the activation."""
    x = dequantize(codes, source)
    if weight.is_floating_point():
        x = F.hardtanh(x, *_ends(source))  # changes nothing, but that XNNPACK does not pad the codes
    return slide(x, dequantize_weight(weight, scale), bias, window)


def multiply(codes: Tensor, source: Edge, weight: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """(B, C) codes to (B, O) floats, before the activation."""
    return multiply_floats(dequantize(codes, source), weight, scale, bias)


def multiply_floats(x: Tensor, weight: Tensor, scale: Tensor, bias: Tensor | None) -> Tensor:
    """(..., C) floats to (..., O) floats, every row of `x` in codes on a scale of its own."""
    operators, ends = torch.ops.quantized_decomposed, (-128, 127, torch.int8)
    of_row, zero = operators.choose_qparams_per_token_asymmetric.default(x, torch.int8)
    codes = operators.quantize_per_token.default(x, of_row, zero, *ends)
    x = operators.dequantize_per_token.default(codes, of_row, zero, *ends, torch.float32)
    return F.linear(x, dequantize_weight(weight, scale), bias)


def mean(codes: Tensor, source: Edge) -> Tensor:
    """(B, C, H, W) codes to (B, C) floats."""
    return dequantize(codes, source).mean((-1, -2), keepdim=True).flatten(1)


def largest(codes: Tensor, edge: Edge, kernel_size: int, stride: int) -> Tensor:
    """(B, C, H, W) codes to the largest of each window, (B, C, ceil(H / stride), ceil(W / stride))."""
    return quantize(F.max_pool2d(dequantize(codes, edge), kernel_size, stride, kernel_size // 2), edge)


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


def before_activation(y: Tensor, activation: str, target: Edge | None, skip_edge: Edge | None, after: str) -> Tensor:
    """A convolution's floats, rounded where another activation follows than XNNPACK's convolution knows."""
    if target is None or activation in _FUSED:
        return y
    return _rounded(y, _ahead_of(activation, target if skip_edge is None else _beside(skip_edge, after, target)))


def before_sum(y: Tensor, skip_edge: Edge, after: str, target: Edge) -> Tensor:
    """Floats that a skip on `skip_edge` is added to, rounded on the widest range that makes a difference behind it."""
    return _rounded(y, _beside(skip_edge, after, target))


def _beside(skip_edge: Edge, after: str, target: Edge) -> Edge:
    low, high = _ends(target if after in _FUSED else _ahead_of(after, target))
    least, most = _ends(skip_edge)
    return _edge(low - most, high - least)


def _rounded(y: Tensor, edge: Edge) -> Tensor:
    return dequantize(quantize(y, edge), edge)


def _ahead_of(activation: str, target: Edge) -> Edge:
    """An edge for what goes into the activation: beyond its ends, codes on `target` are no longer others."""

    def reached(x: float) -> float:
        return float(activate(torch.tensor(x, dtype=torch.float64), activation))

    top = max(_ends(target)[1], _LEAST)
    high = _bisect(lambda x: reached(x) >= top, 0.0, top + 8.0)
    low = -_bisect(lambda x: abs(reached(-x)) <= target.scale / 2, 1.5, 16.0)
    return _edge(low, high)


def _bisect(true_from: Callable[[float], bool], low: float, high: float) -> float:
    """Where between the ends a condition, once true, stays so."""
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if true_from(middle) else (middle, high)
    return high


def _ends(edge: Edge) -> tuple[float, float]:
    return -edge.zero * edge.scale, (255 - edge.zero) * edge.scale


def _edge(low: float, high: float) -> Edge:
    low, high = min(low, 0.0), max(high, 0.0)
    scale = max(high - low, _LEAST) / 255
    return Edge(scale, round(-low / scale))
