"""The int8 forms of the residual blocks: the shortcut's codes are added inside the last convolution.

Shapes: (B, in_channels, H, W) to (B, out_channels, ceil(H / stride), ceil(W / stride)), uint8 codes.
"""

from torch import Tensor

from zoo.blocks.int8.layer import Int8Layer
from zoo.blocks.int8.rows import Int8Row


class Int8Residual(Int8Row):
    """What both share: the shortcut, and the last convolution that adds it."""

    def __init__(
        self,
        *,
        inner_edges: int,
        in_channels: int,
        out_channels: int,
        stride: int,
        projection: bool,
        activation: str,
        emits: str,
    ) -> None:
        super().__init__(edges=2 + inner_edges + projection, emits=emits)
        self.activation = activation
        self.shortcut = self.layer(in_channels, out_channels, stride=stride) if projection else None

    def _add(self, last: Int8Layer, y: Tensor, x: Tensor) -> Tensor:
        """`last` of the inner codes `y`, plus the shortcut of the row's input `x`, activated."""
        entry, *_, inner, target = self.edge_list
        if self.shortcut is None:
            return last(y, inner, target, x, entry, self.activation)
        inner, beside = self.edge_list[-3:-1]
        return last(y, inner, target, self.shortcut(x, entry, beside), beside, self.activation)


class Int8BasicBlock(Int8Residual):
    """`BasicBlock` in integers."""

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
        emits: str = "float32",
    ) -> None:
        super().__init__(
            inner_edges=1,
            in_channels=in_channels,
            out_channels=out_channels,
            stride=stride,
            projection=projection,
            activation=activation,
            emits=emits,
        )
        self.conv1 = self.layer(in_channels, mid_channels, kernel_size=3, stride=stride, activation=activation)
        self.conv2 = self.layer(mid_channels, out_channels, kernel_size=3)

    def run(self, x: Tensor) -> Tensor:
        entry, inner = self.edge_list[:2]
        return self._add(self.conv2, self.conv1(x, entry, inner), x)


class Int8Bottleneck(Int8Residual):
    """`Bottleneck` in integers."""

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
        emits: str = "float32",
    ) -> None:
        super().__init__(
            inner_edges=2,
            in_channels=in_channels,
            out_channels=out_channels,
            stride=stride,
            projection=projection,
            activation=activation,
            emits=emits,
        )
        self.conv1 = self.layer(in_channels, mid1_channels, activation=activation)
        self.conv2 = self.layer(mid1_channels, mid2_channels, kernel_size=3, stride=stride, activation=activation)
        self.conv3 = self.layer(mid2_channels, out_channels)

    def run(self, x: Tensor) -> Tensor:
        entry, first, second = self.edge_list[:3]
        return self._add(self.conv3, self.conv2(self.conv1(x, entry, first), first, second), x)
