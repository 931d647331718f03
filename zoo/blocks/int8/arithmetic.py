"""What int8 means here, in plain float operators: the oracle of the fast execution, and what every other device runs.

A real value is `scale * (code - zero)`. Activations are uint8 with one scale and zero point an edge; weights are
int8 in -127..127 with one scale an output channel and no zero point; sums are exact, biases float32.
Shapes: B batch, C and O channels, H and W height and width.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.blocks.padding import borders


class Edge(NamedTuple):
    """How the uint8 codes on one edge are read: real value = scale * (code - zero)."""

    scale: float
    zero: int


class Window(NamedTuple):
    """How a convolution moves over its map."""

    stride: int = 1
    dilation: int = 1
    groups: int = 1
    padding: str = "symmetric"

    def borders(self, x: Tensor, weight: Tensor) -> tuple[int, int, int, int]:
        """(left, right, top, bottom) around the map (B, C, H, W)."""
        return borders(x.shape[2:], weight.shape[-1], self.stride, self.dilation, self.padding)


def quantize(x: Tensor, edge: Edge) -> Tensor:
    """Floats to the nearest uint8 codes; ties to even, values out of range to the nearest end."""
    return (x.float() * (1.0 / edge.scale)).round_().add_(edge.zero).clamp_(0, 255).to(torch.uint8)


def dequantize(codes: Tensor, edge: Edge) -> Tensor:
    """uint8 codes to the floats they stand for."""
    return (codes.float() - edge.zero) * edge.scale


def quantize_weight(weight: Tensor) -> tuple[Tensor, Tensor]:
    """(O, ...) floats to (int8 codes, scale (O,)), symmetric for each output channel (Jacob et al., 2018)."""
    largest = weight.flatten(1).abs().amax(1)
    scale = torch.where(largest > 0, largest, torch.ones_like(largest)) / 127
    codes = torch.round(weight / scale.view(-1, *[1] * (weight.dim() - 1))).clamp_(-127, 127).to(torch.int8)
    return codes, scale


def activate(x: Tensor, activation: str) -> Tensor:
    match activation:
        case "none":
            return x
        case "relu":
            return F.relu(x)
        case "relu6":
            return F.relu6(x)
        case "hard_swish":
            return F.hardswish(x)
        case "swish":
            return F.silu(x)
    raise ValueError(f"Unknown activation {activation!r}.")


def convolve(codes: Tensor, source: Edge, weight: Tensor, scale: Tensor, bias: Tensor, window: Window) -> Tensor:
    """(B, C, H, W) codes to (B, O, ceil(H / stride), ceil(W / stride)) floats, before the activation."""
    values = codes.float() - source.zero
    left, right, top, bottom = window.borders(codes, weight)
    if (left, top) != (right, bottom):
        values = F.pad(values, (0, right - left, 0, bottom - top))
    with exact(codes.device):
        sums = F.conv2d(values, weight.float(), None, window.stride, (top, left), window.dilation, window.groups)
    return sums * (source.scale * scale).view(1, -1, 1, 1) + bias.view(1, -1, 1, 1)


def multiply(codes: Tensor, source: Edge, weight: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """(B, C) codes to (B, O) floats, before the activation."""
    with exact(codes.device):
        sums = F.linear(codes.float() - source.zero, weight.float())
    return sums * (source.scale * scale) + bias


def exact(device: torch.device) -> AbstractContextManager[object]:
    """Autocast off where it is on: half precision cannot hold the sums."""
    if torch.is_autocast_enabled(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()
