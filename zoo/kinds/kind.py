"""What describes a kind of block: its arguments and their bounds, its layers, its channel spaces, its edges."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from zoo.spec import Block, SpecError

MAX_CHANNELS = 65_536
GROUP = 32  # inputs that share a step and a shift where weights have 4 bits
ACTIVATIONS = ("none", "relu", "relu6", "hard_swish", "swish")
GATES = ("sigmoid", "hard_sigmoid")
PADDINGS = ("symmetric", "same")
ROLES = ("stem", "trunk", "pool", "head")

# (channels, height, width) of a map, (channels, tokens) of a stream, (features,) of a vector, (tokens,) of token ids
Shape = tuple[int, ...]
NormReaders = tuple[tuple[str, tuple[str, ...]], ...]  # prefixes of keys: (norm, the layers that read it)


@dataclass(frozen=True)
class Arg:
    """One argument of a kind: its type, its bounds or choices, and its default (None: it must be given).

    A tuple holds numbers within the bounds, `whole` ones if that is said, or some of the choices.
    """

    type: type
    default: Any = None
    low: float = 0
    high: float = 0
    choices: tuple[str, ...] = ()
    odd: bool = False
    whole: bool = False

    def check(self, value: Any, where: str) -> None:
        proper = isinstance(value, self.type) and (self.type is bool or not isinstance(value, bool))
        if self.type is float:
            proper = isinstance(value, (int, float)) and not isinstance(value, bool)
        if self.type is tuple and proper:
            proper = all(one in self.choices if self.choices else self._bounds(one) for one in value)
        if not proper:
            raise SpecError(f"{where} is a {self.type.__name__}, not {value!r}.")
        if self.choices and self.type is not tuple and value not in self.choices:
            raise SpecError(f"{where} is one of {self.choices}, not {value!r}.")
        if self.type in (int, float) and not self.low <= value <= self.high:
            raise SpecError(f"{where} is between {self.low} and {self.high}, not {value!r}.")
        if self.odd and value % 2 == 0:
            raise SpecError(f"{where} is odd, not {value!r}.")

    def _bounds(self, one: Any) -> bool:
        number = isinstance(one, int if self.whole else (int, float)) and not (self.whole and isinstance(one, bool))
        return number and self.low <= one <= self.high


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
    normalisation follows (under `conv` and `bn`), and in convolutional rows `activation` comes behind that. `pooled`
    layers see a 1x1 map. A layer `from_row_input` reads the row's input, not the output of the layer before it. The
    parts are those of its axes. A `table` is looked up, not multiplied.
    """

    path: str
    source: str
    target: str
    kernel: int = 1
    stride: int = 1
    dilation: int = 1
    padding: str = "symmetric"
    activation: str = "none"
    depthwise: bool = False
    linear: bool = False
    norm: bool = True
    pooled: bool = False
    from_row_input: bool = False
    bias: bool = True
    table: bool = False
    source_parts: tuple[int, ...] = (1,)
    target_parts: tuple[int, ...] = (1,)

    @property
    def int8_path(self) -> str:
        """Where the layer's int8 leaf stands: `path`, or "conv." where the row is one convolution."""
        return self.path or "conv."


@dataclass(frozen=True)
class Table:
    """Vectors that a row looks up: `rows` of `width` values.

    Integer forms have a scale for each row, or one for each of `parts`, the rows of each feature and cross. `features`
    are those whose rows come first, one behind the other, by their places in the input.
    """

    path: str
    rows: int
    width: int
    parts: tuple[int, ...] = ()
    features: tuple[int, ...] = ()

    def state(self, precision: str) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Key -> (dtype, shape). Values of 4 bits lie two in a byte."""
        if precision not in ("int8", "int4"):
            return {f"{self.path}weight": ("float32", (self.rows, self.width))}
        halved = ("uint8", (self.rows, -(-self.width // 2)))
        weight = halved if precision == "int4" else ("int8", (self.rows, self.width))
        return {f"{self.path}weight": weight, f"{self.path}scale": ("float16", (len(self.parts) or self.rows,))}


@dataclass(frozen=True)
class Sum:
    """A residual sum: the output of the row's `part` plus its shortcut, which has the row's edge `shortcut`.

    The activation called `after` follows, and then the row's last edge.
    """

    part: str
    shortcut: str = "in"
    after: str = "none"


@dataclass(frozen=True)
class Kind:
    """A kind of block: what the zoo computes keys, shapes, costs, pruning spaces and int8 layouts from.

    Fields that are functions take the row's arguments, with defaults filled in.

    - `layers`: the row's convolutions and linear layers.
    - `widths`: channel space -> the argument that holds its size. `ties`: pairs of spaces that keep the same channels.
      `fixed`: spaces that pruning must not change, because a norm spans them. `scales_with`: argument -> the argument
      whose ratio to it pruning must keep.
    - `edges`: the quantization points of an int8 row, in the order of its tensor `edges`: "in" and "out" of the row,
      "x" the output of its part `x`, "<x" the input of that part. `sums`: what a shortcut is added to, or None.
    - `extras`: shapes of the parameters outside of all layers; they are float32 in every precision. An
      axis that channels index is an `Axis`.
    - `macs_and_shape`: takes the input shape too and returns the multiply-accumulates and the output shape, for kinds
      where these do not follow from the layers.
    - `takes_ids`: the kind is the first row of a language model; its input is token ids.
    - `takes_targets`: the kind is the first row of a decoder behind an encoder; its input is token ids of the target,
      and the previous row's output goes no further.
    - `conflict`: why arguments do not go together, or "".
    - `role`: a "stem" makes features of the input, the "trunk" refines them, a "pool" makes one vector of many, and a
      "head" answers the task. `head_replacement`: the row in place of the head, in a network without a head.
    - `norm_readers`: prefixes of a norm's keys, and of the layers that alone read it, with at most a ReLU between: a
      channel's scale may move from the norm into these layers.
    - `added_to`: path of a layer -> path of the part whose input is added to what that layer gives, where no `sums`
      says it; "" is the row itself.
    - `droppable`: a network without the row is whole, because the row adds to a stream that keeps its shape.
    - `grid`: the row has a position for each patch, "rows" times "columns" of them, so that pictures have one size.
    - `tables`: what the row looks up; no layer holds them. `keys`: how many known values its buffer `vocabulary` names.
    - `aligned`: the entries at one place of all its parts of the input belong together.
    - `takes_rows`: the row reads the row numbers and the values of a table's row, as `TableInput` lays them out.
    - `floats`: its rows take and give floats in every precision.
    - `taps`: how many earlier rows' outputs it takes beside the previous row's. The channels of the first are the space
      "tap0", of the second "tap1"; one that `widths` does not name keeps its channels. Such a kind has
      `macs_and_shape`, which takes the shapes of the taps too, behind that of the input.
    - `branches`: the row gives what it taps, and the previous row's output goes no further.
    - `sized_by`: the taps of which it reads the height and width alone.
    - `composed`: channel space -> the spaces that it is, one behind another. Spaces of width 0 are not there.
    - `derived`: the sizes of channel spaces that no argument holds; pruning does not change them.
    - `boxes`: of a detection head, "module:attribute" that makes boxes of its numbers, such as `SSDBoxes`.
    - `one_code`: the edges that have the scale and zero point of the last edge where they can: their codes go on as
      they are.
    - `reduction`: takes the reduction of the input and of the taps too, and returns that of the output, 0 where it has
      none; without it the argument `stride` says it.
    - `output`: what an answer of several named parts calls the row's output; "logits" of every head.
    """

    name: str
    args: Mapping[str, Arg]
    layers: Callable[[Mapping[str, Any]], tuple[Layer, ...]]
    widths: Mapping[str, str] = field(default_factory=dict)
    ties: Callable[[Mapping[str, Any]], tuple[tuple[str, str], ...]] = lambda args: ()
    passes_channels: bool = False  # what comes in goes out, narrowed or not
    edges: Callable[[Mapping[str, Any]], tuple[str, ...]] = lambda args: ("in", "out")
    shape: Callable[[Mapping[str, Any], Shape], Shape] | None = None
    rank: int = 3  # of the Shape that it takes; 0: any
    extras: Callable[[Mapping[str, Any]], Mapping[str, tuple[Axis | int, ...]]] = lambda args: {}
    fixed: tuple[str, ...] = ()
    scales_with: Mapping[str, str] = field(default_factory=dict)
    precisions: tuple[str, ...] = ("float32", "int8", "qat", "fused")
    takes_ids: bool = False
    takes_targets: bool = False
    sums: Callable[[Mapping[str, Any]], Sum | None] = lambda args: None
    conflict: Callable[[Mapping[str, Any]], str] = lambda args: ""
    macs_and_shape: Callable[..., tuple[int, Shape]] | None = None  # (args, shape, *shapes of taps)
    role: str = "trunk"
    head_replacement: Block | None = None
    norm_readers: Callable[[Mapping[str, Any]], NormReaders] = lambda args: ()
    added_to: Callable[[Mapping[str, Any]], Mapping[str, str]] = lambda args: {}
    droppable: bool = False
    grid: bool = False
    taps: Callable[[Mapping[str, Any]], int] = lambda args: 0
    branches: bool = False
    sized_by: tuple[int, ...] = ()
    composed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    derived: Callable[[Mapping[str, Any]], Mapping[str, int]] = lambda args: {}
    boxes: str = ""
    one_code: tuple[str, ...] = ()
    reduction: Callable[..., int] | None = None  # (args, reduction, *reductions of taps)
    tables: Callable[[Mapping[str, Any]], tuple[Table, ...]] = lambda args: ()
    keys: Callable[[Mapping[str, Any]], int] | None = None
    takes_rows: bool = False
    aligned: bool = False
    floats: bool = False
    output: str = "last_hidden_state"

    @property
    def float_io(self) -> bool:
        """Whether its rows take and give floats in every precision."""
        return self.rank == 2 or self.takes_ids or self.takes_rows or self.floats
