"""Pooling of uint8 codes."""

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.blocks.int8 import arithmetic
from zoo.blocks.int8.rows import Int8Row


class Int8MaxPool(Int8Row):
    """The largest code of each window is the code of the largest value: (B, C, H, W), one edge for both ends.

    Slices, since `F.max_pool2d` takes no uint8; code 0, the least there is, stands for the border.
    """

    def __init__(self, *, kernel_size: int = 3, stride: int = 2, emits: str = "float32") -> None:
        super().__init__(edges=1, emits=emits)
        self.kernel_size, self.stride = kernel_size, stride

    def run(self, x: Tensor) -> Tensor:
        border = self.kernel_size // 2
        padded = F.pad(x, [border] * 4)
        down = _largest(padded, 2, self.kernel_size, self.stride)
        return _largest(down, 3, self.kernel_size, self.stride).contiguous(memory_format=torch.channels_last)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, {super().extra_repr()}"


class Int8GlobalPool(Int8Row):
    """Mean over height and width of uint8 codes: (B, C, H, W) to (B, C)."""

    def __init__(self, *, emits: str = "float32") -> None:
        super().__init__(edges=2, emits=emits)

    def run(self, x: Tensor) -> Tensor:
        source, target = self.edge_list
        mean = x.mean((2, 3), dtype=torch.float32)
        return arithmetic.quantize((mean - source.zero) * source.scale, target)


def _largest(x: Tensor, dim: int, size: int, stride: int) -> Tensor:
    """The maximum over windows of `size` along one axis of an already padded map."""
    count = (x.shape[dim] - size) // stride + 1
    slices = [slice(None)] * x.dim()
    out: Tensor | None = None
    for offset in range(size):
        slices[dim] = slice(offset, offset + (count - 1) * stride + 1, stride)
        out = x[tuple(slices)] if out is None else torch.maximum(out, x[tuple(slices)])
    assert out is not None
    return out
