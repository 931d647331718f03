"""What a kind of block is, without torch: its arguments and bounds, its layers, and all that follows from them.

A kind declares its layers once. From them come the state dict's keys and shapes in every precision, the channel
spaces that must narrow together, and the multiply-accumulates.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from zoo.spec import Block, ModelSpec, SpecError

MAX_CHANNELS = 65_536
MAX_PARAMETERS = 20_000_000_000
ACTIVATIONS = ("none", "relu", "relu6", "hard_swish", "swish")
GATES = ("sigmoid", "hard_sigmoid")

Shape = tuple[int, ...]  # (channels, height, width) of a map, (features,) of a vector


@dataclass(frozen=True)
class Arg:
    """One argument of a kind: its type, its bounds or choices, and its default (None: it must be given)."""

    type: type
    default: Any = None
    low: float = 0
    high: float = 0
    choices: tuple[str, ...] = ()
    odd: bool = False

    def check(self, value: Any, where: str) -> None:
        proper = isinstance(value, self.type) and (self.type is bool or not isinstance(value, bool))
        if self.type is float:
            proper = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not proper:
            raise SpecError(f"{where} is a {self.type.__name__}, not {value!r}.")
        if self.choices and value not in self.choices:
            raise SpecError(f"{where} is one of {self.choices}, not {value!r}.")
        if self.type in (int, float) and not self.low <= value <= self.high:
            raise SpecError(f"{where} is between {self.low} and {self.high}, not {value!r}.")
        if self.odd and value % 2 == 0:
            raise SpecError(f"{where} is odd, not {value!r}.")


@dataclass(frozen=True)
class Axis:
    """One axis of a parameter that channels of `space` index: `outer` times, `inner` entries for each channel."""

    space: str
    size: int
    inner: int = 1
    outer: int = 1

    @property
    def length(self) -> int:
        return self.size * self.inner * self.outer


@dataclass(frozen=True)
class Layer:
    """One convolution or linear layer inside a block, from the channels of one space to those of another.

    A depthwise layer has one space for both. `path` is its prefix in the block's state dict; `norm` says that batch
    normalisation follows (under `conv` and `bn`), `bias` that it has its own. `pooled` layers see a 1x1 map.
    """

    path: str
    source: str
    target: str
    kernel: int = 1
    stride: int = 1
    dilation: int = 1
    depthwise: bool = False
    linear: bool = False
    norm: bool = True
    pooled: bool = False

    @property
    def int8_path(self) -> str:
        """Where the layer's int8 leaf stands: `path`, or "conv." where the row is one convolution."""
        return self.path or "conv."


@dataclass(frozen=True)
class Kind:
    """A kind of block. `widths` names the argument that holds the size of each channel space.

    `edges` are the places where an int8 row quantizes, in the order of its `edges` tensor: "in" and "out" of the row,
    "x" what its part `x` gives, "<x" what it takes.
    """

    name: str
    args: Mapping[str, Arg]
    layers: Callable[[Mapping[str, Any]], tuple[Layer, ...]]
    widths: Mapping[str, str] = field(default_factory=dict)
    ties: Callable[[Mapping[str, Any]], tuple[tuple[str, str], ...]] = lambda args: ()
    passes_channels: bool = False  # what comes in goes out, narrowed or not
    edges: Callable[[Mapping[str, Any]], tuple[str, ...]] = lambda args: ("in", "out")
    shape: Callable[[Mapping[str, Any], Shape], Shape] | None = None
    rank: int = 3  # of the Shape that it takes
    taps: int = 0  # how many earlier rows' outputs it takes


_WIDTH = Arg(int, low=1, high=MAX_CHANNELS)
_KERNEL = Arg(int, 3, low=1, high=31, odd=True)  # an even one has no symmetric padding that keeps the size
_STRIDE = Arg(int, 1, low=1, high=8)
_ACT = Arg(str, "relu6", choices=ACTIVATIONS)
_EPS = Arg(float, 1e-5, low=1e-12, high=1.0)
_SE = {
    "se_channels": Arg(int, 0, low=0, high=MAX_CHANNELS),
    "se_activation": Arg(str, "relu", choices=ACTIVATIONS),
    "se_gate": Arg(str, "sigmoid", choices=GATES),
}


def _conv_layers(args: Mapping[str, Any]) -> tuple[Layer, ...]:
    return (Layer("", "in", "out", args["kernel_size"], args["stride"], args["dilation"]),)


def _se_layers(args: Mapping[str, Any], space: str, path: str = "se.") -> tuple[Layer, ...]:
    if not args["se_channels"]:
        return ()
    return (
        Layer(f"{path}reduce.", space, "se", norm=False, pooled=True),
        Layer(f"{path}expand.", "se", space, norm=False, pooled=True),
    )


def _separable_layers(args: Mapping[str, Any]) -> tuple[Layer, ...]:
    return (
        Layer("depthwise.", "in", "in", args["kernel_size"], args["stride"], depthwise=True),
        *_se_layers(args, "in"),
        Layer("project.", "in", "out"),
    )


def _inverted_layers(args: Mapping[str, Any]) -> tuple[Layer, ...]:
    return (
        Layer("expand.", "in", "mid"),
        Layer("depthwise.", "mid", "mid", args["kernel_size"], args["stride"], depthwise=True),
        *_se_layers(args, "mid"),
        Layer("project.", "mid", "out"),
    )


def _skip_ties(args: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    return (("in", "out"),) if args["skip"] else ()


def _separable_edges(args: Mapping[str, Any]) -> tuple[str, ...]:
    return ("<se.reduce", "se.act", "se") if args["se_channels"] else ("depthwise",)


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind(
            "conv_norm_act",
            {
                "in_channels": _WIDTH,
                "out_channels": _WIDTH,
                "kernel_size": _KERNEL,
                "stride": _STRIDE,
                "dilation": Arg(int, 1, low=1, high=32),
                "activation": _ACT,
                "eps": _EPS,
            },
            _conv_layers,
            widths={"in": "in_channels", "out": "out_channels"},
        ),
        Kind(
            "depthwise_separable",
            {
                "in_channels": _WIDTH,
                "out_channels": _WIDTH,
                "kernel_size": _KERNEL,
                "stride": _STRIDE,
                "skip": Arg(bool, False),
                "activation": _ACT,
                "out_activation": _ACT,
                **_SE,
                "eps": _EPS,
            },
            _separable_layers,
            widths={"in": "in_channels", "out": "out_channels", "se": "se_channels"},
            ties=_skip_ties,
            edges=lambda args: ("in", *_separable_edges(args), "out"),
        ),
        Kind(
            "inverted_residual",
            {
                "in_channels": _WIDTH,
                "mid_channels": _WIDTH,
                "out_channels": _WIDTH,
                "kernel_size": _KERNEL,
                "stride": _STRIDE,
                "skip": Arg(bool, False),
                "activation": _ACT,
                **_SE,
                "eps": _EPS,
            },
            _inverted_layers,
            widths={"in": "in_channels", "mid": "mid_channels", "out": "out_channels", "se": "se_channels"},
            ties=_skip_ties,
            edges=lambda args: ("in", "expand", *_separable_edges(args), "out"),
        ),
        Kind("global_pool", {}, lambda args: (), passes_channels=True, shape=lambda args, shape: shape[:1]),
        Kind(
            "classifier",
            {
                "in_features": _WIDTH,
                "num_classes": _WIDTH,
                "dropout": Arg(float, 0.0, low=0.0, high=0.95),
            },
            lambda args: (Layer("fc.", "in", "out", linear=True, norm=False),),
            widths={"in": "in_features", "out": "num_classes"},
            rank=1,
        ),
    )
}


def arguments(block: Block) -> dict[str, Any]:
    """The row's arguments with defaults filled in; raises SpecError for an unknown kind or argument, or a bad value."""
    kind = KINDS.get(block.kind)
    if kind is None:
        raise SpecError(f"Row {block.name!r}: unknown kind {block.kind!r}; the kinds are {sorted(KINDS)}.")
    given = block.args
    unknown = set(given) - set(kind.args)
    if unknown:
        raise SpecError(f"Row {block.name!r}: {block.kind} has no argument {sorted(unknown)}.")
    filled = {}
    for name, arg in kind.args.items():
        value = given.get(name, arg.default)
        if value is None:
            raise SpecError(f"Row {block.name!r}: {block.kind} needs {name!r}.")
        arg.check(value, f"Row {block.name!r}: {name}")
        filled[name] = value
    return filled


def layer_widths(block: Block) -> dict[str, int]:
    """The size of each of the row's channel spaces."""
    args = arguments(block)
    return {space: args[name] for space, name in KINDS[block.kind].widths.items() if args[name]}


def state(block: Block) -> dict[str, tuple[str, tuple[Axis | int, ...]]]:
    """Key (without the row's name) -> (dtype, axes) of everything in the row's state dict."""
    args, widths = arguments(block), layer_widths(block)
    out: dict[str, tuple[str, tuple[Axis | int, ...]]] = {}
    for layer in KINDS[block.kind].layers(args):
        target = Axis(layer.target, widths[layer.target])
        source: Axis | int = 1 if layer.depthwise else Axis(layer.source, widths[layer.source])
        window = () if layer.linear else (layer.kernel, layer.kernel)
        if block.precision == "int8":
            out[f"{layer.int8_path}weight"] = ("int8", (target, source, *window))
            out[f"{layer.int8_path}scale"] = ("float32", (target,))
            out[f"{layer.int8_path}bias"] = ("float32", (target,))
        elif layer.norm:
            out[f"{layer.path}conv.weight"] = ("float32", (target, source, *window))
            for part in ("weight", "bias", "running_mean", "running_var"):
                out[f"{layer.path}bn.{part}"] = ("float32", (target,))
            out[f"{layer.path}bn.num_batches_tracked"] = ("int64", ())
        else:
            out[f"{layer.path}weight"] = ("float32", (target, source, *window))
            out[f"{layer.path}bias"] = ("float32", (target,))
    if block.precision == "int8":
        out["edges"] = ("float32", (len(KINDS[block.kind].edges(args)), 2))
    return out


def model_state(spec: ModelSpec) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Key -> (dtype, shape) of the whole state dict, in the order of the rows."""
    return {
        f"{row.name}.{key}": (dtype, tuple(axis.length if isinstance(axis, Axis) else axis for axis in axes))
        for row in spec
        for key, (dtype, axes) in state(row).items()
    }


@dataclass(frozen=True)
class Cost:
    """Of one example: multiply-accumulates; and learnt values (batch-norm statistics left out)."""

    macs: int
    parameters: int


def cost(spec: ModelSpec) -> Cost:
    """What the network costs at its own input size."""
    return Cost(sum(c.macs for c in row_costs(spec)), sum(c.parameters for c in row_costs(spec)))


def row_costs(spec: ModelSpec, size: tuple[int, int] | None = None) -> list[Cost]:
    """The cost of every row, at the spec's own input size or another one. Raises SpecError where widths disagree."""
    shape: Shape = (spec.input.channels, *(size or spec.input.size))
    costs = []
    for row in spec:
        macs, after = _row_macs(row, shape)
        costs.append(Cost(macs, _row_parameters(row)))
        shape = after
    return costs


def check(spec: ModelSpec) -> ModelSpec:
    """Raise SpecError unless every row is of a known kind, in bounds, and fits the one before; returns the spec."""
    total = sum(c.parameters for c in row_costs(spec))
    if total > MAX_PARAMETERS:
        raise SpecError(f"{spec.name} has {total:,} parameters; more than {MAX_PARAMETERS:,} are refused.")
    for row in spec:
        wanted = KINDS[row.kind].taps
        if len(row.taps) != wanted:
            raise SpecError(f"Row {row.name!r}: {row.kind} takes {wanted} taps, not {len(row.taps)}.")
        if row.emits == "uint8" and row.precision != "int8":
            raise SpecError(f"Row {row.name!r} is {row.precision}, so it cannot emit uint8.")
    for before, row in zip(spec.rows, spec.rows[1:], strict=False):
        if before.emits == "uint8" and row.precision != "int8":
            raise SpecError(f"Row {before.name!r} emits uint8, but {row.name!r} behind it is {row.precision}.")
    if spec.rows[-1].emits != "float32":
        raise SpecError(f"The last row, {spec.rows[-1].name!r}, must emit float32.")
    return spec


def _row_macs(row: Block, shape: Shape) -> tuple[int, Shape]:
    args, widths, kind = arguments(row), layer_widths(row), KINDS[row.kind]
    if "in" in widths and widths["in"] != shape[0]:
        raise SpecError(f"Row {row.name!r} takes {widths['in']} channels, but {shape[0]} come in.")
    if args.get("skip") and (args["stride"] != 1 or widths["in"] != widths["out"]):
        raise SpecError(f"Row {row.name!r}: a skip needs stride 1 and equal widths.")
    macs, layers = 0, kind.layers(args)
    if len(shape) != kind.rank:
        raise SpecError(f"Row {row.name!r}: {row.kind} cannot take an input of shape {shape}.")
    for layer in layers:
        if not layer.linear and not layer.pooled:
            shape = (widths[layer.target], *(-(-side // layer.stride) for side in shape[1:]))
        positions = 1 if layer.pooled or layer.linear else shape[1] * shape[2]
        fan_in = layer.kernel**2 * (1 if layer.depthwise else widths[layer.source])
        macs += positions * widths[layer.target] * fan_in
        if layer.linear:
            shape = (widths[layer.target],)
    return macs, kind.shape(args, shape) if kind.shape else shape


def _row_parameters(row: Block) -> int:
    """Counted on the float form of the row, so that a variant's precision does not change it."""
    total = 0
    for key, (_, axes) in state(row.replace(precision="float32")).items():
        if "running_" in key or key.endswith("num_batches_tracked"):
            continue
        size = 1
        for axis in axes:
            size *= axis.length if isinstance(axis, Axis) else axis
        total += size
    return total
