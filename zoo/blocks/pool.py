"""Pooling: fewer positions, the same channels."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from zoo.blocks.traced import traced


class MaxPool(nn.Module):
    """The largest value of each window, the border left out.

    Args:
        kernel_size (int): height and width of the window, odd. Default: 3.
        stride (int): step of the window, in positions. Default: 2.

    Shape:
        (B, C, H, W) to (B, C, ceil(H / stride), ceil(W / stride)).

    Example:
        >>> block = zoo.blocks.MaxPool()
        >>> block(torch.randn(1, 8, 32, 32)).shape
        torch.Size([1, 8, 16, 16])
    """

    def __init__(self, *, kernel_size: int = 3, stride: int = 2) -> None:
        super().__init__()
        self.kernel_size, self.stride = kernel_size, stride

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool2d(x, self.kernel_size, self.stride, self.kernel_size // 2)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}"


class GlobalPool(nn.Module):
    """Mean over height and width (Network in Network: Lin et al., 2014).

    Shape:
        (B, C, H, W) to (B, C).

    Example:
        >>> block = zoo.blocks.GlobalPool()
        >>> block(torch.randn(1, 8, 4, 4)).shape
        torch.Size([1, 8])
    """

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


class AvgPool(nn.Module):
    """The mean of each window, the border left out.

    Args:
        kernel_size (int): height and width of the window, odd. Default: 3.
        stride (int): step of the window, in positions. Default: 2.

    Shape:
        (B, C, H, W) to (B, C, ceil(H / stride), ceil(W / stride)).

    Example:
        >>> block = zoo.blocks.AvgPool()
        >>> block(torch.randn(1, 8, 32, 32)).shape
        torch.Size([1, 8, 16, 16])
    """

    def __init__(self, *, kernel_size: int = 3, stride: int = 2) -> None:
        super().__init__()
        self.kernel_size, self.stride = kernel_size, stride

    def forward(self, x: Tensor) -> Tensor:
        return averaged(x, self.kernel_size, self.stride)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}"


class AdaptiveAvgPool(nn.Module):
    """The means of a grid of equal parts (pyramid pooling: Zhao et al., 2017).

    Args:
        size (int): height and width of the grid. Default: 1.

    Shape:
        (B, C, H, W) to (B, C, size, size).

    Example:
        >>> block = zoo.blocks.AdaptiveAvgPool(size=2)
        >>> block(torch.randn(1, 8, 5, 7)).shape
        torch.Size([1, 8, 2, 2])
    """

    def __init__(self, *, size: int = 1) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        return on_grid(x, self.size)

    def extra_repr(self) -> str:
        return f"size={self.size}"


def averaged(x: Tensor, kernel_size: int, stride: int) -> Tensor:
    """The means of windows of a map, whose border is left out."""
    return F.avg_pool2d(x, kernel_size, stride, kernel_size // 2, count_include_pad=False)


def on_grid(x: Tensor, size: int) -> Tensor:
    """(B, C, H, W) to the means of `size` by `size` parts; parts overlap where they do not divide the map."""
    if size == 1:
        return x.mean((2, 3), keepdim=True)
    if not traced():
        return F.adaptive_avg_pool2d(x, size)
    for dim in (2, 3):  # in operators that every runtime has
        length = x.shape[dim]
        ends = [(place * length // size, -(-(place + 1) * length // size)) for place in range(size)]
        x = torch.cat([x.narrow(dim, start, end - start).mean(dim, keepdim=True) for start, end in ends], dim)
    return x
