"""Convolution, batch norm, activation: the unit every convolutional row is made of.

Shapes: B batch, C channels, H and W height and width; input and output are (B, C, H, W).
"""

import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from zoo.blocks.activation import make_activation
from zoo.blocks.memory import activate, arranged_for
from zoo.blocks.padding import borders, check_padding


class ConvNormAct(nn.Module):
    """2-d convolution without bias, batch norm (Ioffe and Szegedy, 2015), activation.

    Args:
        in_channels (int): channels of the input.
        out_channels (int): channels of the output.
        kernel_size (int): height and width of the kernel, odd. Default: 3.
        stride (int): step of the kernel, in positions. Default: 1.
        dilation (int): distance of the kernel's elements, in positions. Default: 1.
        groups (int): groups of channels; as many as channels for a depthwise convolution. Default: 1.
        padding (str): "symmetric", or "same", TensorFlow's, which depends on the size. Default: "symmetric".
        activation (str): one of "relu", "relu6", "swish", "hard_swish", "none". Default: "relu6".
        eps (float): added to the variance in batch norm. Default: 1e-5.

    Shape:
        (B, in_channels, H, W) to (B, out_channels, ceil(H / stride), ceil(W / stride)).

    Raises:
        ValueError: `kernel_size` is even, or `padding` or `activation` is unknown.

    Example:
        >>> block = zoo.blocks.ConvNormAct(in_channels=3, out_channels=16, stride=2)
        >>> block(torch.randn(1, 3, 32, 32)).shape
        torch.Size([1, 16, 16, 16])
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
        padding: str = "symmetric",
        activation: str = "relu6",
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        if kernel_size % 2 == 0:
            raise ValueError(f"A kernel's size is odd, not {kernel_size}: no symmetric padding keeps height and width.")
        check_padding(padding)
        self.bordered = padding == "same" and stride > 1  # at stride 1 the two paddings are one
        self.conv = nn.Conv2d(
            in_channels,
            out_channels,
            kernel_size,
            stride=stride,
            padding=0 if self.bordered else dilation * (kernel_size - 1) // 2,
            dilation=dilation,
            groups=groups,
            bias=False,
        )
        self.bn = nn.BatchNorm2d(out_channels, eps=eps)
        self.act = make_activation(activation)

    def forward(self, x: Tensor) -> Tensor:
        x = arranged_for(self.conv, x)
        if self.bordered:
            x = F.pad(x, self._border(x))
        x = self.bn(self.conv(x))
        return activate(self.act, x, self.bn) if isinstance(self.bn, nn.BatchNorm2d) else self.act(x)

    def _border(self, x: Tensor) -> tuple[int, int, int, int]:
        window = (self.conv.kernel_size[0], self.conv.stride[0], self.conv.dilation[0])
        return borders(x.shape[2:], *window, padding="same")
