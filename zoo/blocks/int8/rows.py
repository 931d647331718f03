"""The int8 forms of the rows. Each has the arguments of its float form, and `emits`.

A row quantizes float input at its entry; between int8 rows flow bare uint8 codes. `edges` (n, 2) holds scale and zero
point of each edge in the order that `zoo.kinds` gives. Shapes: B batch, C channels, H and W height and width.
"""

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

from zoo.blocks.flat import Step
from zoo.blocks.int8 import arithmetic
from zoo.blocks.int8.arithmetic import Edge, Size
from zoo.blocks.int8.codes import whole_codes
from zoo.blocks.int8.execution import plain, runs_fast
from zoo.blocks.int8.layer import Int8Layer, Int8Module
from zoo.blocks.int8.squeeze_excite import Int8SqueezeExcite


class Bind(Protocol):
    """How a row's parts become functions of codes: `called`, or `bound` to oneDNN's operators."""

    def __call__(
        self, part: Any, size: Size, source: Edge, target: Edge | None, skip_edge: Edge | None = None, after: str = ...
    ) -> Callable[..., Tensor]: ...


def called(
    part: Any, size: Size, source: Edge, target: Edge | None, skip_edge: Edge | None = None, after: str = "none"
) -> Callable[..., Tensor]:
    """The part as a module, whatever it runs and whoever watches it."""
    if skip_edge is None:
        return lambda x: part(x, source, target)
    return lambda x, skip: part(x, source, target, skip, skip_edge, after)


def bound(
    part: Any, size: Size, source: Edge, target: Edge | None, skip_edge: Edge | None = None, after: str = "none"
) -> Callable[..., Tensor]:
    """The part's own fast function for maps of `size`; it overwrites the skip."""
    return part.bound(size, source, target, skip_edge, after)


class Int8Row(Int8Module):
    """Entry, exit and edges, the same for every int8 row; `wire` says how its parts make codes of codes."""

    layer: type[Int8Layer] = Int8Layer
    squeeze_excite: type[Int8SqueezeExcite] = Int8SqueezeExcite
    ends_in_floats = False  # whether `wire` gives floats where the row emits them

    def __init__(self, *, edges: int, emits: str) -> None:
        super().__init__()
        self.emits = emits
        self._hold_edges(edges)

    def _hold_edges(self, count: int) -> None:
        self.edges: Tensor
        self.register_buffer("edges", torch.tensor([[1.0, 0.0]] * count, dtype=torch.float32))
        self._read_edges: tuple[Edge, ...] | None = None

    def forget(self) -> None:
        super().forget()
        self._read_edges = None

    def _underived(self) -> dict[str, Any]:
        return {"_read_edges": None}

    def extra_repr(self) -> str:
        return f"emits={self.emits}"

    @property
    def edge_list(self) -> tuple[Edge, ...]:
        self.renew()
        if self._read_edges is None:
            self._read_edges = tuple(Edge(scale, int(zero)) for scale, zero in self.edges.tolist())
        return self._read_edges

    def quantize(self, x: Tensor) -> Tensor:
        """Floats to codes on the row's first edge; channels_last, as the operators want maps."""
        quantize = whole_codes if runs_fast(x.device) else plain().quantize
        codes = quantize(x.float(), self.edge_list[0])
        return codes.contiguous(memory_format=torch.channels_last) if codes.dim() == 4 else codes

    def dequantize(self, codes: Tensor) -> Tensor:
        """What the row emits as uint8, as the floats it stands for."""
        return plain().dequantize(codes, self.edge_list[-1])

    def enter(self, x: Tensor) -> Tensor:
        """What came in, as codes on the row's first edge."""
        return x if x.dtype == torch.uint8 else self.quantize(x)

    def forward(self, x: Tensor) -> Tensor:
        codes = self.wire(called, x.shape[2:])(self.enter(x))
        return codes if self.emits == "uint8" or self.ends_in_floats else self.dequantize(codes)

    def bind(self, x: Tensor) -> Step:
        """`forward` for inputs like `x` as one function, which may overwrite codes that come in."""
        if not runs_fast(x.device):
            return self
        step = self.wire(bound, x.shape[2:])
        if x.dtype != torch.uint8:
            step = _behind(step, self.edge_list[0])
        floats = self.emits != "uint8" and not self.ends_in_floats
        return _before_floats(step, self.edge_list[-1]) if floats else step

    def wire(self, bind: Bind, size: Size) -> Step:
        """The row as a function of codes on its first edge to codes on its last, for maps of `size`."""
        raise TypeError(f"{type(self).__name__} does not say how it runs.")


def _behind(step: Step, edge: Edge) -> Step:
    def call(x: Tensor) -> Tensor:
        codes = whole_codes(x.float(), edge)
        return step(codes.contiguous(memory_format=torch.channels_last) if codes.dim() == 4 else codes)

    return call


def _before_floats(step: Step, edge: Edge) -> Step:
    return lambda x: arithmetic.dequantize(step(x), edge)


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

    def wire(self, bind: Bind, size: Size) -> Step:
        source, target = self.edge_list
        return bind(self.conv, size, source, target)


class Int8Separable(Int8Row):
    """What the int8 forms of the mobile blocks share: how depthwise, squeeze-and-excite, projection and skip run."""

    skip: bool
    depthwise: Int8Layer
    se: Int8SqueezeExcite | None
    project: Int8Layer

    def _squeeze_excite(self, channels: int, reduced: int, activation: str, gate: str) -> Int8SqueezeExcite | None:
        return self.squeeze_excite(channels, reduced, activation, gate) if reduced else None

    def _separable(self, bind: Bind, size: Size, edges: tuple[Edge, ...], skip_edge: Edge) -> Callable[..., Tensor]:
        """From codes on `edges[0]` through depthwise and projection to codes on `edges[-1]`; where `skip`, of two."""
        source, gated, target = edges
        depthwise = bind(self.depthwise, size, source, gated if self.se is None else None)
        size = self.depthwise.out_size(size)
        project = bind(self.project, size, gated, target, skip_edge if self.skip else None)
        if self.se is None:
            if self.skip:
                return lambda x, skip: project(depthwise(x), skip)
            return lambda x: project(depthwise(x))
        gate = bind(self.se, size, gated, gated)
        if self.skip:
            return lambda x, skip: project(gate(depthwise(x)), skip)
        return lambda x: project(gate(depthwise(x)))


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

    def wire(self, bind: Bind, size: Size) -> Step:
        separable = self._separable(bind, size, self.edge_list, self.edge_list[0])
        return (lambda x: separable(x, x)) if self.skip else separable


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

    def wire(self, bind: Bind, size: Size) -> Step:
        entry, *inner = self.edge_list
        expand = bind(self.expand, size, entry, inner[0])
        separable = self._separable(bind, size, tuple(inner), entry)
        return (lambda x: separable(expand(x), x)) if self.skip else (lambda x: separable(expand(x)))


class Int8Hidden(Int8Row):
    """`Hidden` in integers: (B, in_features) to (B, out_features)."""

    def __init__(
        self, *, in_features: int, out_features: int, activation: str = "hard_swish", emits: str = "float32"
    ) -> None:
        super().__init__(edges=2, emits=emits)
        self.fc = self.layer(in_features, out_features, linear=True, activation=activation)

    def wire(self, bind: Bind, size: Size) -> Step:
        source, target = self.edge_list
        return bind(self.fc, size, source, target)


class Int8Classifier(Int8Row):
    """Integer matrix product to float scores: (B, in_features) to (B, num_classes). No dropout: it does not train."""

    ends_in_floats = True

    def __init__(self, *, in_features: int, num_classes: int, dropout: float = 0.0, emits: str = "float32") -> None:
        super().__init__(edges=2, emits=emits)
        self.dropout = dropout
        self.fc = self.layer(in_features, num_classes, linear=True)

    def wire(self, bind: Bind, size: Size) -> Step:
        source, target = self.edge_list
        return bind(self.fc, size, source, target if self.emits == "uint8" else None)
