"""The int8 forms of the rows. Each has the arguments of its float form, and `emits`.

A row quantizes float input at its entry; between int8 rows flow bare uint8 codes. `edges` (n, 2) holds scale and zero
point of each edge in the order that `zoo.kinds` gives. Shapes: B batch, C channels, H and W height and width.
"""

from typing import Any

import torch
from torch import Tensor

from zoo.blocks.int8 import arithmetic
from zoo.blocks.int8.arithmetic import Edge
from zoo.blocks.int8.layer import Int8Layer, Int8Module
from zoo.blocks.int8.squeeze_excite import Int8SqueezeExcite


class Int8Row(Int8Module):
    """Entry, exit and edges, the same for every int8 row; `run` maps codes on the first edge to codes on the last."""

    layer: type[Int8Layer] = Int8Layer
    squeeze_excite: type[Int8SqueezeExcite] = Int8SqueezeExcite

    def __init__(self, *, edges: int, emits: str) -> None:
        super().__init__()
        self.register_buffer("edges", torch.tensor([[1.0, 0.0]] * edges, dtype=torch.float32))
        self.edges: Tensor
        self.emits = emits
        self._read_edges: tuple[Edge, ...] | None = None

    def forget(self) -> None:
        self._read_edges = None

    def _underived(self) -> dict[str, Any]:
        return {"_read_edges": None}

    def extra_repr(self) -> str:
        return f"emits={self.emits}"

    @property
    def edge_list(self) -> tuple[Edge, ...]:
        if self._read_edges is None:
            self._read_edges = tuple(Edge(scale, int(zero)) for scale, zero in self.edges.tolist())
        return self._read_edges

    def quantize(self, x: Tensor) -> Tensor:
        """Floats to codes on the row's first edge; channels_last, as the operators want maps."""
        codes = arithmetic.quantize(x, self.edge_list[0])
        return codes.contiguous(memory_format=torch.channels_last) if codes.dim() == 4 else codes

    def dequantize(self, codes: Tensor) -> Tensor:
        """What the row emits as uint8, as the floats it stands for."""
        return arithmetic.dequantize(codes, self.edge_list[-1])

    def enter(self, x: Tensor) -> Tensor:
        """What came in, as codes on the row's first edge."""
        return x if x.dtype == torch.uint8 else self.quantize(x)

    def forward(self, x: Tensor) -> Tensor:
        codes = self.run(self.enter(x))
        return codes if self.emits == "uint8" else self.dequantize(codes)

    def run(self, x: Tensor) -> Tensor:
        raise TypeError(f"{type(self).__name__} does not say how it runs.")


class Int8ConvNormAct(Int8Row):
    """`ConvNormAct` with its norm folded in: one integer convolution (B, C, H, W) to (B, O, H', W')."""

    def __init__(
        self,
        *,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        stride: int = 1,
        dilation: int = 1,
        padding: str = "symmetric",
        activation: str = "relu6",
        eps: float = 1e-5,
        emits: str = "float32",
    ) -> None:
        super().__init__(edges=2, emits=emits)
        self.conv = self.layer(
            in_channels,
            out_channels,
            kernel_size=kernel_size,
            stride=stride,
            dilation=dilation,
            padding=padding,
            activation=activation,
        )

    def run(self, x: Tensor) -> Tensor:
        source, target = self.edge_list
        return self.conv(x, source, target)


class Int8Separable(Int8Row):
    """What the int8 forms of the mobile blocks share: how depthwise, squeeze-and-excite, projection and skip run."""

    skip: bool
    depthwise: Int8Layer
    se: Int8SqueezeExcite | None
    project: Int8Layer

    def _squeeze_excite(self, channels: int, reduced: int, activation: str, gate: str) -> Int8SqueezeExcite | None:
        return self.squeeze_excite(channels, reduced, activation, gate) if reduced else None

    def _separable(self, x: Tensor, edges: tuple[Edge, ...], skip: Tensor, skip_edge: Edge) -> Tensor:
        """From codes on `edges[0]`, through depthwise and projection, to codes on `edges[-1]`."""
        source, gated, target = edges
        y = self.depthwise(x, source, gated) if self.se is None else self.se(self.depthwise(x, source, None), gated)
        if self.skip:
            return self.project(y, gated, target, skip, skip_edge)
        return self.project(y, gated, target)


class Int8DepthwiseSeparable(Int8Separable):
    """`DepthwiseSeparable` in integers."""

    def __init__(
        self,
        *,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        stride: int = 1,
        padding: str = "symmetric",
        skip: bool = False,
        activation: str = "relu6",
        out_activation: str = "relu6",
        se_channels: int = 0,
        se_activation: str = "relu",
        se_gate: str = "sigmoid",
        eps: float = 1e-5,
        emits: str = "float32",
    ) -> None:
        super().__init__(edges=3, emits=emits)
        self.skip = skip
        self.depthwise = self.layer(
            in_channels,
            in_channels,
            kernel_size=kernel_size,
            stride=stride,
            padding=padding,
            depthwise=True,
            activation=activation,
        )
        self.se = self._squeeze_excite(in_channels, se_channels, se_activation, se_gate)
        self.project = self.layer(in_channels, out_channels, activation=out_activation)

    def run(self, x: Tensor) -> Tensor:
        return self._separable(x, self.edge_list, x, self.edge_list[0])


class Int8InvertedResidual(Int8Separable):
    """`InvertedResidual` in integers, the residual add inside the projection."""

    def __init__(
        self,
        *,
        in_channels: int,
        mid_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        stride: int = 1,
        padding: str = "symmetric",
        skip: bool = False,
        activation: str = "relu6",
        se_channels: int = 0,
        se_activation: str = "relu",
        se_gate: str = "sigmoid",
        eps: float = 1e-5,
        emits: str = "float32",
    ) -> None:
        super().__init__(edges=4, emits=emits)
        self.skip = skip
        self.expand = self.layer(in_channels, mid_channels, activation=activation)
        self.depthwise = self.layer(
            mid_channels,
            mid_channels,
            kernel_size=kernel_size,
            stride=stride,
            padding=padding,
            depthwise=True,
            activation=activation,
        )
        self.se = self._squeeze_excite(mid_channels, se_channels, se_activation, se_gate)
        self.project = self.layer(mid_channels, out_channels)

    def run(self, x: Tensor) -> Tensor:
        entry, *inner = self.edge_list
        return self._separable(self.expand(x, entry, inner[0]), tuple(inner), x, entry)


class Int8Hidden(Int8Row):
    """`Hidden` in integers: (B, in_features) to (B, out_features)."""

    def __init__(
        self, *, in_features: int, out_features: int, activation: str = "hard_swish", emits: str = "float32"
    ) -> None:
        super().__init__(edges=2, emits=emits)
        self.fc = self.layer(in_features, out_features, linear=True, activation=activation)

    def run(self, x: Tensor) -> Tensor:
        source, target = self.edge_list
        return self.fc(x, source, target)


class Int8Classifier(Int8Row):
    """Integer matrix product to float scores: (B, in_features) to (B, num_classes). No dropout: it does not train."""

    def __init__(self, *, in_features: int, num_classes: int, dropout: float = 0.0, emits: str = "float32") -> None:
        super().__init__(edges=2, emits=emits)
        self.dropout = dropout
        self.fc = self.layer(in_features, num_classes, linear=True)

    def forward(self, x: Tensor) -> Tensor:
        source, target = self.edge_list
        return self.fc(self.enter(x), source, target if self.emits == "uint8" else None)
