"""What describes a kind of block: its arguments and their bounds, its layers, its channel spaces, its edges."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from zoo.spec import SpecError

MAX_CHANNELS = 65_536
ACTIVATIONS = ("none", "relu", "relu6", "hard_swish", "swish")
GATES = ("sigmoid", "hard_sigmoid")
PADDINGS = ("symmetric", "same")

# (channels, height, width) of a map, (channels, tokens) of a stream, (features,) of a vector, (tokens,) of token ids
Shape = tuple[int, ...]


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
        if self.type is tuple and proper:
            proper = all(isinstance(one, (int, float)) and self.low <= one <= self.high for one in value)
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
    """One axis of a parameter that channels of `space` index.

    It has `parts` one behind another, in each of which every channel has so many entries side by side: heads of a fused
    projection to queries, keys and values have the parts (head_dim, head_dim, head_dim).
    """

    space: str
    size: int
    parts: tuple[int, ...] = (1,)

    @property
    def length(self) -> int:
        return self.size * sum(self.parts)


@dataclass(frozen=True)
class Layer:
    """One convolution or linear layer inside a block, from the channels of one space to those of another.

    A depthwise layer has one space for both. `path` is its prefix in the block's state dict; `norm` says that batch
    normalisation follows (under `conv` and `bn`). `pooled` layers see a 1x1 map; one `beside` the others starts again
    from the row's input. The parts are those of its axes; a `table` is looked up, not multiplied.
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
    beside: bool = False
    bias: bool = True
    table: bool = False
    source_parts: tuple[int, ...] = (1,)
    target_parts: tuple[int, ...] = (1,)

    @property
    def int8_path(self) -> str:
        """Where the layer's int8 leaf stands: `path`, or "conv." where the row is one convolution."""
        return self.path or "conv."


@dataclass(frozen=True)
class Kind:
    """A kind of block. `widths` names the argument that holds the size of each channel space.

    `edges` are the places where an int8 row quantizes, in the order of its `edges` tensor: "in" and "out" of the row,
    "x" what its part `x` gives, "<x" what it takes. `extras` are parameters that no layer holds, float32 in every
    precision. Spaces in `fixed` keep their width: what norms average over cannot narrow. `work` counts the
    multiply-accumulates and tells the shape behind, where they do not follow from the layers. `follows` names arguments
    that keep their ratio to a width; one of kind that `starts` takes token ids. `refuses` says why arguments
    do not go together, and nothing where they do. Kinds of rank 2 and those that start
    take and give floats in every precision.
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
    extras: Callable[[Mapping[str, Any]], Mapping[str, tuple[int, ...]]] = lambda args: {}
    fixed: tuple[str, ...] = ()
    follows: Mapping[str, str] = field(default_factory=dict)
    precisions: tuple[str, ...] = ("float32", "int8", "qat", "fused")
    starts: bool = False
    refuses: Callable[[Mapping[str, Any]], str] = lambda args: ""
    work: Callable[[Mapping[str, Any], Shape], tuple[int, Shape]] | None = None

    @property
    def floats(self) -> bool:
        """Whether its rows take and give floats in every precision."""
        return self.rank == 2 or self.starts

    taps: int = 0  # how many earlier rows' outputs it takes
