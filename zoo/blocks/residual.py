"""The residual blocks of the ResNet line (He et al., 2016): the activation follows the addition.

Shapes: B batch, C channels, H and W height and width; (B, in_channels, H, W) to
(B, out_channels, ceil(H / stride), ceil(W / stride)).
"""

import torch.nn as nn
from torch import Tensor

from zoo.blocks.activation import make_activation
from zoo.blocks.conv import ConvNormAct


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut, the first with the stride.

    The shortcut is the input itself, or with `projection` a strided 1x1 convolution of it.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        mid_channels: int,
        out_channels: int,
        stride: int = 1,
        projection: bool = False,
        activation: str = "relu",
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        self.conv1 = ConvNormAct(
            in_channels=in_channels, out_channels=mid_channels, stride=stride, activation=activation, eps=eps
        )
        self.conv2 = ConvNormAct(in_channels=mid_channels, out_channels=out_channels, activation="none", eps=eps)
        self.shortcut = _shortcut(in_channels, out_channels, stride, projection, eps)
        self.act = make_activation(activation)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.conv2(self.conv1(x)) + self.shortcut(x))


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions beside a shortcut; the 3x3 one has the stride ("v1.5": Goyal et al., 2017).

    `mid1_channels` go into the 3x3 convolution, `mid2_channels` come out of it. The shortcut is as `BasicBlock`'s.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        mid1_channels: int,
        mid2_channels: int,
        out_channels: int,
        stride: int = 1,
        projection: bool = False,
        activation: str = "relu",
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        self.conv1 = ConvNormAct(
            in_channels=in_channels, out_channels=mid1_channels, kernel_size=1, activation=activation, eps=eps
        )
        self.conv2 = ConvNormAct(
            in_channels=mid1_channels, out_channels=mid2_channels, stride=stride, activation=activation, eps=eps
        )
        self.conv3 = ConvNormAct(
            in_channels=mid2_channels, out_channels=out_channels, kernel_size=1, activation="none", eps=eps
        )
        self.shortcut = _shortcut(in_channels, out_channels, stride, projection, eps)
        self.act = make_activation(activation)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.conv3(self.conv2(self.conv1(x))) + self.shortcut(x))


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
