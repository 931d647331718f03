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
    normalisation follows (under `conv` and `bn`). `pooled` layers see a 1x1 map; one `beside` the others starts again
    from the row's input.
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
