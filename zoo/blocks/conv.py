"""Convolution, batch norm, activation: the unit every convolutional row is made of.

Shapes: B batch, C channels, H and W height and width; input and output are (B, C, H, W).
"""

import torch.nn as nn
from torch import Tensor

from zoo.blocks.activation import make_activation


class ConvNormAct(nn.Module):
    """2-d convolution without bias, batch normalisation, activation.

    Batch normalisation: Ioffe and Szegedy, 2015. With `groups == in_channels == out_channels` it is a
    depthwise convolution. Padding is symmetric, `dilation * (kernel_size - 1) // 2`, so a stride of 1 keeps
    height and width, and a stride of 2 gives `ceil(size / 2)`.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        activation: str = "relu6",
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        if kernel_size % 2 == 0:
            raise ValueError(f"A kernel's size is odd, not {kernel_size}: no symmetric padding keeps height and width.")
        self.conv = nn.Conv2d(
            in_channels,
            out_channels,
            kernel_size,
            stride=stride,
            padding=dilation * (kernel_size - 1) // 2,
            dilation=dilation,
            groups=groups,
            bias=False,
        )
        self.bn = nn.BatchNorm2d(out_channels, eps=eps)
        self.act = make_activation(activation)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.bn(self.conv(x)))
