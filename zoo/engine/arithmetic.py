"""What int8 means here, in plain float operators: the oracle of the fast execution, and what every other device runs.

A real value is `scale * (code - zero_point)`. Activations are uint8 with one scale and zero point an edge; weights are
int8 in -127..127 with one scale an output channel and no zero point; sums are exact, biases float32.
Shapes: B batch, C and O channels, H and W height and width.
"""

import functools
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.blocks.padding import borders

Size = Sequence[int]  # height and width of a map
Range = tuple[float, float]  # the least and the largest value


class QParams(NamedTuple):
    """The quantization parameters of one edge, a tensor between layers: real value = scale * (code - zero_point)."""

    scale: float
    zero_point: int

    @property
    def ends(self) -> Range:
        """The least and the largest value that has a code."""
        return -self.zero_point * self.scale, (255 - self.zero_point) * self.scale


class Window(NamedTuple):
    """How a convolution moves over its map."""

    stride: int = 1
    dilation: int = 1
    groups: int = 1
    padding: str = "symmetric"

    def borders(self, size: Size, kernel_size: int) -> tuple[int, int, int, int]:
        """(left, right, top, bottom) around a map of `size`."""
        return borders(size, kernel_size, self.stride, self.dilation, self.padding)


def quantize(x: Tensor, qparams: QParams) -> Tensor:
    """Floats to the nearest uint8 codes; ties to even, values out of range to the nearest end."""
    return (x.float() * (1.0 / qparams.scale)).round_().add_(qparams.zero_point).clamp_(0, 255).to(torch.uint8)


def dequantize(codes: Tensor, qparams: QParams) -> Tensor:
    """uint8 codes to the floats they stand for."""
    return (codes.float() - qparams.zero_point) * qparams.scale


def quantize_weight(weight: Tensor, widest: int = 127) -> tuple[Tensor, Tensor]:
    """(O, ...) floats to (int8 codes in -widest..widest, scale (O,)), symmetric for each output channel.

    Jacob et al., 2018.
    """
    largest = weight.flatten(1).abs().amax(1)
    scale = torch.where(largest > 0, largest, torch.ones_like(largest)) / widest
    codes = torch.round(weight / scale.view(-1, *[1] * (weight.dim() - 1))).clamp_(-widest, widest).to(torch.int8)
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
        case "gelu":
            return F.gelu(x)
        case "gelu_tanh":
            return F.gelu(x, approximate="tanh")
    raise ValueError(f"Unknown activation {activation!r}.")


def convolve(codes: Tensor, source: QParams, weight: Tensor, scale: Tensor, bias: Tensor, window: Window) -> Tensor:
    """(B, C, H, W) codes to (B, O, ceil(H / stride), ceil(W / stride)) floats, before the activation."""
    values = codes.float() - source.zero_point
    with exact(codes.device):
        sums = slide(values, weight.float(), None, window)
    return sums * (source.scale * scale).view(1, -1, 1, 1) + bias.view(1, -1, 1, 1)


def slide(x: Tensor, weight: Tensor, bias: Tensor | None, window: Window) -> Tensor:
    """The plain convolution of floats (B, C, H, W) by a window, its border of zeros included."""
    left, right, top, bottom = window.borders(x.shape[2:], weight.shape[-1])
    if (left, top) != (right, bottom):
        x = F.pad(x, (0, right - left, 0, bottom - top))
    return F.conv2d(x, weight, bias, window.stride, (top, left), window.dilation, window.groups)


def multiply(codes: Tensor, source: QParams, weight: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """(B, C) codes to (B, O) floats, before the activation."""
    with exact(codes.device):
        sums = F.linear(codes.float() - source.zero_point, weight.float())
    return sums * (source.scale * scale) + bias


def mean(codes: Tensor, source: QParams) -> Tensor:
    """(B, C, H, W) codes to (B, C) floats."""
    return (codes.mean((2, 3), dtype=torch.float32) - source.zero_point) * source.scale


def largest(codes: Tensor, qparams: QParams, kernel_size: int, stride: int) -> Tensor:
    """(B, C, H, W) codes to the largest of each window, (B, C, ceil(H / stride), ceil(W / stride)), channels_last.

    Slices, since `F.max_pool2d` takes no uint8; code 0, the least there is, stands for the border.
    """
    out = F.pad(codes, [kernel_size // 2] * 4)
    for dim in (2, 3):
        count = (out.shape[dim] - kernel_size) // stride + 1
        slices = [out.narrow(dim, i, (count - 1) * stride + 1) for i in range(kernel_size)]
        out = functools.reduce(
            torch.maximum, [one[:, :, ::stride] if dim == 2 else one[..., ::stride] for one in slices]
        )
    return out.contiguous(memory_format=torch.channels_last)


def before_activation(
    y: Tensor, activation: str, target: QParams | None, skip_qparams: QParams | None, after: str
) -> Tensor:
    """A convolution's floats, as they are."""
    return y


def before_sum(y: Tensor, skip_qparams: QParams, after: str, target: QParams, seen: Range | None) -> Tensor:
    """Floats that a skip is added to, as they are."""
    return y


@contextmanager
def undisturbed() -> Iterator[None]:
    """On the CPU and without autocast, whatever the caller's are: what is tried in it holds for the process."""
    cpu = torch.device("cpu")
    elsewhere = torch.get_default_device() != cpu
    with cpu if elsewhere else nullcontext(), exact(cpu):  # to choose a device makes every operator slow
        yield


def exact(device: torch.device) -> AbstractContextManager[object]:
    """Autocast off where it is on: half precision cannot hold the sums."""
    if torch.is_autocast_enabled(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()
