"""The residual blocks of the ResNet line (He et al., 2016): the activation follows the addition.

Shapes: B batch, C channels, H and W height and width; (B, in_channels, H, W) to
(B, out_channels, ceil(H / stride), ceil(W / stride)).
"""

import torch.nn as nn
from torch import Tensor

from zoo.blocks.activation import make_activation
from zoo.blocks.conv import ConvNormAct
from zoo.blocks.memory import activate


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut (He et al., 2016); the first has the stride.

    Args:
        in_channels (int): channels of the input.
        mid_channels (int): channels between the two convolutions.
        out_channels (int): channels of the output.
        stride (int): step of the kernel, in positions. Default: 1.
        first_dilation (int): distance of the first kernel's elements, in positions. Default: 1.
        dilation (int): distance of the second kernel's elements. Default: 1.
        projection (bool): whether the shortcut is a strided 1x1 convolution, not the input. Default: False.
        activation (str): as for `ConvNormAct`; the last follows the sum. Default: "relu".
        eps (float): added to the variance in batch norm. Default: 1e-5.

    Shape:
        (B, in_channels, H, W) to (B, out_channels, ceil(H / stride), ceil(W / stride)).

    Raises:
        ValueError: the shortcut is no projection, although the stride is above 1 or the channels differ.

    Example:
        >>> block = zoo.blocks.BasicBlock(in_channels=16, mid_channels=16, out_channels=16)
        >>> block(torch.randn(1, 16, 8, 8)).shape
        torch.Size([1, 16, 8, 8])
    """

    def __init__(
        self,
        *,
        in_channels: int,
        mid_channels: int,
        out_channels: int,
        stride: int = 1,
        first_dilation: int = 1,
        dilation: int = 1,
        projection: bool = False,
        activation: str = "relu",
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        self.conv1 = ConvNormAct(
            in_channels=in_channels,
            out_channels=mid_channels,
            stride=stride,
            dilation=first_dilation,
            activation=activation,
            eps=eps,
        )
        self.conv2 = ConvNormAct(
            in_channels=mid_channels, out_channels=out_channels, dilation=dilation, activation="none", eps=eps
        )
        self.shortcut = _shortcut(in_channels, out_channels, stride, projection, eps)
        self.act = make_activation(activation)

    def forward(self, x: Tensor) -> Tensor:
        return activate(self.act, self.conv2(self.conv1(x)) + self.shortcut(x))


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions beside a shortcut (He et al., 2016); the 3x3 has the stride (Goyal et al., 2017).

    Args:
        in_channels (int): channels of the input.
        mid1_channels (int): channels into the 3x3 convolution.
        mid2_channels (int): channels out of the 3x3 convolution.
        out_channels (int): channels of the output.
        stride (int): step of the kernel, in positions. Default: 1.
        dilation (int): distance of the 3x3 kernel's elements, in positions. Default: 1.
        projection (bool): whether the shortcut is a strided 1x1 convolution, not the input. Default: False.
        activation (str): as for `ConvNormAct`; the last follows the sum. Default: "relu".
        eps (float): added to the variance in batch norm. Default: 1e-5.

    Shape:
        (B, in_channels, H, W) to (B, out_channels, ceil(H / stride), ceil(W / stride)).

    Raises:
        ValueError: the shortcut is no projection, although the stride is above 1 or the channels differ.

    Example:
        >>> block = zoo.blocks.Bottleneck(in_channels=64, mid1_channels=16, mid2_channels=16, out_channels=64)
        >>> block(torch.randn(1, 64, 8, 8)).shape
        torch.Size([1, 64, 8, 8])
    """

    def __init__(
        self,
        *,
        in_channels: int,
        mid1_channels: int,
        mid2_channels: int,
        out_channels: int,
        stride: int = 1,
        dilation: int = 1,
        projection: bool = False,
        activation: str = "relu",
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        self.conv1 = ConvNormAct(
            in_channels=in_channels, out_channels=mid1_channels, kernel_size=1, activation=activation, eps=eps
        )
        self.conv2 = ConvNormAct(
            in_channels=mid1_channels,
            out_channels=mid2_channels,
            stride=stride,
            dilation=dilation,
            activation=activation,
            eps=eps,
        )
        self.conv3 = ConvNormAct(
            in_channels=mid2_channels, out_channels=out_channels, kernel_size=1, activation="none", eps=eps
        )
        self.shortcut = _shortcut(in_channels, out_channels, stride, projection, eps)
        self.act = make_activation(activation)

    def forward(self, x: Tensor) -> Tensor:
        return activate(self.act, self.conv3(self.conv2(self.conv1(x))) + self.shortcut(x))


def _shortcut(in_channels: int, out_channels: int, stride: int, projection: bool, eps: float) -> nn.Module:
    if projection:
        return ConvNormAct(
            in_channels=in_channels,
            out_channels=out_channels,
            kernel_size=1,
            stride=stride,
            activation="none",
            eps=eps,
        )
    if stride != 1 or in_channels != out_channels:
        raise ValueError(
            f"A skip needs stride 1 and equal widths, not stride {stride}, {in_channels} to {out_channels} channels; "
            "projection=True fits them."
        )
    return nn.Identity()
