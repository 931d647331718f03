"""Pooling: fewer positions, the same channels."""

import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor


class MaxPool(nn.Module):
    """The largest of each window: (B, C, H, W) to (B, C, ceil(H / stride), ceil(W / stride)), the border left out."""

    def __init__(self, *, kernel_size: int = 3, stride: int = 2) -> None:
        super().__init__()
        self.kernel_size, self.stride = kernel_size, stride

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool2d(x, self.kernel_size, self.stride, self.kernel_size // 2)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}"


class GlobalPool(nn.Module):
    """Mean over height and width: (B, C, H, W) to (B, C) (Network in Network: Lin et al., 2014)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))
