"""Pooling: fewer positions, the same channels."""

import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor


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
