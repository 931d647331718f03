"""The int8 forms of the residual blocks: the shortcut's codes are added inside the last convolution.

Shapes: (B, in_channels, H, W) to (B, out_channels, ceil(H / stride), ceil(W / stride)), uint8 codes.
"""

from zoo.blocks.flat import Step
from zoo.blocks.int8.arithmetic import Size
from zoo.blocks.int8.layer import Int8Layer
from zoo.blocks.int8.rows import Bind, Int8Row


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

    def _add(self, bind: Bind, size: Size, out: Size, inner: Step, last: Int8Layer) -> Step:
        """`last` of the `inner` codes, plus the shortcut of the row's input, activated."""
        entry, *_, source, target = self.edge_list
        if self.shortcut is None:
            add = bind(last, out, source, target, entry, self.activation)
            return lambda x: add(inner(x), x)
        source, beside = self.edge_list[-3:-1]
        shortcut = bind(self.shortcut, size, entry, beside)
        add = bind(last, out, source, target, beside, self.activation)
        return lambda x: add(inner(x), shortcut(x))


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

    def wire(self, bind: Bind, size: Size) -> Step:
        entry, inner = self.edge_list[:2]
        conv1 = bind(self.conv1, size, entry, inner)
        return self._add(bind, size, self.conv1.out_size(size), conv1, self.conv2)


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

    def wire(self, bind: Bind, size: Size) -> Step:
        entry, first, second = self.edge_list[:3]
        conv1 = bind(self.conv1, size, entry, first)
        conv2 = bind(self.conv2, size, first, second)
        return self._add(bind, size, self.conv2.out_size(size), lambda x: conv2(conv1(x)), self.conv3)
