"""The depthwise separable blocks of the MobileNet line.

Shapes: B batch, C channels, H and W height and width.
"""

import torch.nn as nn
from torch import Tensor

from zoo.blocks.conv import ConvNormAct
from zoo.blocks.squeeze_excite import SqueezeExcite


class DepthwiseSeparable(nn.Module):
    """Depthwise convolution, then a 1x1 convolution (MobileNet: Howard et al., 2017).

    Args:
        in_channels (int): channels of the input.
        out_channels (int): channels of the output.
        kernel_size (int): height and width of the kernel, odd. Default: 3.
        stride (int): step of the kernel, in positions. Default: 1.
        dilation (int): distance of the kernel's elements, in positions. Default: 1.
        padding (str): "symmetric", or "same", TensorFlow's, which depends on the size. Default: "symmetric".
        skip (bool): whether the input is added to the output. Default: False.
        activation (str): that of the depthwise part, as for `ConvNormAct`. Default: "relu6".
        out_activation (str): that of the 1x1 part; "none" where the block opens a MobileNetV2. Default: "relu6".
        se_channels (int): inner channels of a squeeze-and-excite; 0 for none. Default: 0.
        se_activation (str): the activation inside of it. Default: "relu".
        se_gate (str): its gate, "sigmoid" or "hard_sigmoid". Default: "sigmoid".
        eps (float): added to the variance in batch norm. Default: 1e-5.

    Shape:
        (B, in_channels, H, W) to (B, out_channels, ceil(H / stride), ceil(W / stride)).

    Raises:
        ValueError: `skip` with a stride above 1, or with other channels than the input's.

    Example:
        >>> block = zoo.blocks.DepthwiseSeparable(in_channels=16, out_channels=32, stride=2)
        >>> block(torch.randn(1, 16, 32, 32)).shape
        torch.Size([1, 32, 16, 16])
    """

    def __init__(
        self,
        *,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        stride: int = 1,
        dilation: int = 1,
        padding: str = "symmetric",
        skip: bool = False,
        activation: str = "relu6",
        out_activation: str = "relu6",
        se_channels: int = 0,
        se_activation: str = "relu",
        se_gate: str = "sigmoid",
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        _check_skip(skip, stride, in_channels, out_channels)
        self.skip = skip
        self.depthwise = ConvNormAct(
            in_channels=in_channels,
            out_channels=in_channels,
            kernel_size=kernel_size,
            stride=stride,
            dilation=dilation,
            padding=padding,
            groups=in_channels,
            activation=activation,
            eps=eps,
        )
        self.se = _squeeze_excite(in_channels, se_channels, se_activation, se_gate)
        self.project = ConvNormAct(
            in_channels=in_channels, out_channels=out_channels, kernel_size=1, activation=out_activation, eps=eps
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.project(self.se(self.depthwise(x)))
        return x + y if self.skip else y


class InvertedResidual(nn.Module):
    """1x1 expansion, depthwise convolution, linear 1x1 projection (MobileNetV2: Sandler et al., 2018).

    With `se_channels` it is the block of MobileNetV3 (Howard et al., 2019).

    Args:
        in_channels (int): channels of the input.
        mid_channels (int): channels between the expansion and the projection.
        out_channels (int): channels of the output.
        kernel_size (int): height and width of the kernel, odd. Default: 3.
        stride (int): step of the kernel, in positions. Default: 1.
        dilation (int): distance of the kernel's elements, in positions. Default: 1.
        padding (str): "symmetric", or "same", TensorFlow's, which depends on the size. Default: "symmetric".
        skip (bool): whether the input is added to the output. Default: False.
        activation (str): that of the first two convolutions, as for `ConvNormAct`. Default: "relu6".
        se_channels (int): inner channels of a squeeze-and-excite; 0 for none. Default: 0.
        se_activation (str): the activation inside of it. Default: "relu".
        se_gate (str): its gate, "sigmoid" or "hard_sigmoid". Default: "sigmoid".
        eps (float): added to the variance in batch norm. Default: 1e-5.

    Shape:
        (B, in_channels, H, W) to (B, out_channels, ceil(H / stride), ceil(W / stride)).

    Raises:
        ValueError: `skip` with a stride above 1, or with other channels than the input's.

    Example:
        >>> block = zoo.blocks.InvertedResidual(in_channels=16, mid_channels=64, out_channels=16, skip=True)
        >>> block(torch.randn(1, 16, 8, 8)).shape
        torch.Size([1, 16, 8, 8])
    """

    def __init__(
        self,
        *,
        in_channels: int,
        mid_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        stride: int = 1,
        dilation: int = 1,
        padding: str = "symmetric",
        skip: bool = False,
        activation: str = "relu6",
        se_channels: int = 0,
        se_activation: str = "relu",
        se_gate: str = "sigmoid",
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        _check_skip(skip, stride, in_channels, out_channels)
        self.skip = skip
        self.expand = ConvNormAct(
            in_channels=in_channels, out_channels=mid_channels, kernel_size=1, activation=activation, eps=eps
        )
        self.depthwise = ConvNormAct(
            in_channels=mid_channels,
            out_channels=mid_channels,
            kernel_size=kernel_size,
            stride=stride,
            dilation=dilation,
            padding=padding,
            groups=mid_channels,
            activation=activation,
            eps=eps,
        )
        self.se = _squeeze_excite(mid_channels, se_channels, se_activation, se_gate)
        self.project = ConvNormAct(
            in_channels=mid_channels, out_channels=out_channels, kernel_size=1, activation="none", eps=eps
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.project(self.se(self.depthwise(self.expand(x))))
        return x + y if self.skip else y


def _squeeze_excite(channels: int, reduced: int, activation: str, gate: str) -> nn.Module:
    if reduced == 0:
        return nn.Identity()
    return SqueezeExcite(channels=channels, reduced_channels=reduced, activation=activation, gate=gate)


def _check_skip(skip: bool, stride: int, in_channels: int, out_channels: int) -> None:
    if skip and (stride != 1 or in_channels != out_channels):
        raise ValueError(
            f"A skip needs stride 1 and equal widths, not stride {stride}, {in_channels} to {out_channels} channels."
        )
