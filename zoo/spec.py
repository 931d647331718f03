"""A model is data: named rows, one a block, that any process can read without torch."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from zoo import inputs
from zoo.checks import MAX_INT, SpecError, check_keys, is_number, require, short
from zoo.inputs import ImageInput, Input, TableInput, TextInput

__all__ = ["MAX_INT", "Block", "ImageInput", "Input", "ModelSpec", "SpecError", "TableInput", "TextInput"]

# int8_dynamic: each token ranged as it comes; int4: tables of 4-bit values; qat: trained with the roundings of int8;
# fused: norms folded in
PRECISIONS = ("float32", "int8", "int8_dynamic", "int4", "qat", "fused")
EMITTED = ("float32", "uint8")
MAX_ROWS = 4096
MAX_DEPTH = 8
MAX_TEXT = 200  # characters of a spec's name and of its task

Value = Any  # bool | int | float | str | Block | tuple[Value, ...]


@dataclass(frozen=True, init=False)
class Block:
    """One row of a spec: a kind of block, its name and its arguments. Immutable.

    Args:
        kind (str): the kind of block, such as "conv_norm_act"; `zoo.kinds` lists them.
        name (str): the row's name, an identifier; it starts the row's keys in the state dict.
        precision (str): how the weights are held: "float32", "int8", "int8_dynamic" (each token has its own range),
            "int4" (tables of 4-bit values), "qat" (trained with the roundings of int8) or "fused" (norms folded in).
            Default: "float32".
        emits (str): the type of the output: "float32", or "uint8" between int8 rows; between qat rows "uint8" means
            floats that stand on uint8 codes. Default: "float32".
        taps (tuple[str, ...]): earlier rows whose outputs the row takes too; "input" is the network's. Default: none.
        **args (Value): the arguments of the kind: numbers, strings, tuples of them, or nested Blocks.

    Raises:
        SpecError: an argument is of another type or not finite, or a name is unknown.

    Example:
        >>> row = zoo.Block("conv_norm_act", "stem", in_channels=3, out_channels=16)
        >>> row.args
        {'in_channels': 3, 'out_channels': 16}
    """

    kind: str
    name: str
    precision: str
    emits: str
    taps: tuple[str, ...]
    arguments: tuple[tuple[str, Value], ...]

    def __init__(
        self,
        /,
        kind: str,
        name: str,
        precision: str = "float32",
        emits: str = "float32",
        taps: tuple[str, ...] = (),
        **args: Value,
    ) -> None:
        require(isinstance(kind, str) and isinstance(name, str), "a row's kind and name are strings")
        where = f"row {name!r}"
        require(precision in PRECISIONS, f"{where}: precision {precision!r} is none of {PRECISIONS}")
        require(emits in EMITTED, f"{where}: emits {emits!r} is none of {EMITTED}")
        require(isinstance(taps, tuple) and all(isinstance(tap, str) for tap in taps), f"{where}: taps are names")
        for key, value in args.items():
            _check_value(value, f"{where}, argument {key!r}")
        for key, value in (("kind", kind), ("name", name), ("precision", precision), ("emits", emits), ("taps", taps)):
            object.__setattr__(self, key, value)
        object.__setattr__(self, "arguments", tuple(sorted(args.items())))

    def __deepcopy__(self, memo: dict[int, Any]) -> Block:
        return self  # nothing in it can change

    def __getstate__(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in fields(self)}  # less what `zoo.kinds` remembers of it

    @property
    def args(self) -> dict[str, Value]:
        """The arguments, by name."""
        return dict(self.arguments)

    def replace(self, **changes: Value) -> Block:
        """Copy the row with some fields or arguments changed.

        Args:
            **changes (Value): new values of fields (`name=`, `emits=`, ...) or of arguments.

        Returns:
            A new `Block`.

        Raises:
            SpecError: a value is not allowed.

        Example:
            >>> zoo.Block("max_pool", "pool", stride=2).replace(stride=1).args
            {'stride': 1}
        """
        own = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "arguments"}
        return Block(**{**own, **self.args, **changes})

    def to_json(self) -> dict[str, Any]:
        """The row as a dict of JSON values."""
        out: dict[str, Any] = {"kind": self.kind, "name": self.name}
        for key, default in (("precision", "float32"), ("emits", "float32")):
            if getattr(self, key) != default:
                out[key] = getattr(self, key)
        if self.taps:
            out["taps"] = list(self.taps)
        out["args"] = {key: _value_to_json(value) for key, value in self.arguments}
        return out

    @staticmethod
    def from_json(data: Any, depth: int = 0) -> Block:
        """Read a row, checked.

        Args:
            data (Any): a dict as `to_json` gives it.
            depth (int): how deeply this row is nested in another's arguments. Default: 0.

        Returns:
            A `Block`.

        Raises:
            SpecError: the dict is no row.
        """
        check_keys(data, "a row", required={"kind", "name"}, optional={"precision", "emits", "taps", "args"})
        args = data.get("args", {})
        require(isinstance(args, Mapping), "a row's args are an object")
        reserved = {"kind", "name", "precision", "emits", "taps"} & set(args)
        require(not reserved, f"a row's arguments cannot be called {sorted(reserved)}")
        taps = data.get("taps", [])
        require(isinstance(taps, list), "a row's taps are a list")
        return Block(
            data["kind"],
            data["name"],
            precision=data.get("precision", "float32"),
            emits=data.get("emits", "float32"),
            taps=tuple(taps),
            **{key: _value_from_json(value, depth + 1) for key, value in args.items()},
        )


@dataclass(frozen=True)
class ModelSpec:
    """A whole network as data: `zoo.build` makes the network of it. Immutable.

    Args:
        name (str): the architecture's name, 1 to 200 printable characters.
        rows (tuple[Block, ...]): the rows in order, 1 to 4096, with names that differ.
        input (Input): what the network takes. Default: `ImageInput()`, normalised pictures of 224x224.
        task (str): what the network is for. Default: "image-classification".

    Raises:
        SpecError: a field is of another type or out of bounds, or a row taps one that does not come before it.

    Example:
        >>> spec = zoo.create("resnet20").spec
        >>> spec.name, len(spec.rows), spec["classifier"].kind
        ('resnet20', 12, 'classifier')
    """

    name: str
    rows: tuple[Block, ...]
    input: Input = field(default_factory=ImageInput)
    task: str = "image-classification"

    def __post_init__(self) -> None:
        for key, text in (("name", self.name), ("task", self.task)):
            proper = isinstance(text, str) and text.isprintable() and 1 <= len(text) <= MAX_TEXT
            said = f"its name and task are printable strings of 1 to {MAX_TEXT} characters"
            require(proper, f"{said}, and the {key} is {short(text)}")
        require(inputs.known(self.input), f"its input is one of {list(inputs.INPUTS)}, not {short(self.input)}")
        rows = isinstance(self.rows, (tuple, list)) and all(isinstance(row, Block) for row in self.rows)
        require(rows, "its rows are Blocks in a tuple")
        object.__setattr__(self, "rows", tuple(self.rows))  # a list would make the spec unhashable
        require(0 < len(self.rows) <= MAX_ROWS, f"a spec has 1 to {MAX_ROWS} rows, not {len(self.rows)}")
        seen = {"input"}
        for row in self.rows:
            require(row.name.isidentifier(), f"row name {row.name!r} is not an identifier")
            require(row.name not in seen, f"two rows are called {row.name!r}")
            unknown = set(row.taps) - seen
            require(not unknown, f"row {row.name!r} taps {sorted(unknown)}, which do not come before it")
            seen.add(row.name)

    def __iter__(self) -> Iterator[Block]:
        return iter(self.rows)

    def __getitem__(self, name: str) -> Block:
        for row in self.rows:
            if row.name == name:
                return row
        raise KeyError(f"{self.name} has no row {name!r}; its rows are {[row.name for row in self.rows]}")

    @property
    def pictures(self) -> ImageInput:
        """The input of a network that takes pictures; raises SpecError where it takes something else."""
        return inputs.narrowed(self.input, ImageInput, self.name)

    @property
    def texts(self) -> TextInput:
        """The input of a network that takes text; raises SpecError where it takes something else."""
        return inputs.narrowed(self.input, TextInput, self.name)

    @property
    def table(self) -> TableInput:
        """The input of a network that takes rows of a table; raises SpecError where it takes something else."""
        return inputs.narrowed(self.input, TableInput, self.name)

    def replace(self, **changes: Any) -> ModelSpec:
        """Copy the spec with some fields changed.

        Args:
            **changes (Any): new values of `name`, `rows`, `input` or `task`.

        Returns:
            A new `ModelSpec`.

        Raises:
            SpecError: a value is not allowed.
        """
        return ModelSpec(**{**{f.name: getattr(self, f.name) for f in fields(self)}, **changes})

    def edit(self, row: str, **changes: Value) -> ModelSpec:
        """Copy the spec with one row changed. `zoo.edit` does the same to a network, with its weights.

        Args:
            row (str): the row's name.
            **changes (Value): new values of the row's fields or arguments.

        Returns:
            A new `ModelSpec`.

        Raises:
            KeyError: there is no such row.
            SpecError: a value is not allowed.

        Example:
            >>> zoo.create("resnet20").spec.edit("classifier", num_classes=5)["classifier"].args["num_classes"]
            5
        """
        old = self[row]
        return self.replace(rows=tuple(old.replace(**changes) if r is old else r for r in self.rows))

    def upto(self, row: str) -> ModelSpec:
        """Copy the spec up to one row, whose output becomes the network's, as float32.

        Args:
            row (str): the name of the last row to keep.

        Returns:
            A new `ModelSpec`.

        Raises:
            KeyError: there is no such row.

        Example:
            >>> [row.name for row in zoo.create("resnet20").spec.upto("s1_2")]
            ['stem', 's1_1', 's1_2']
        """
        last = self[row]
        return self.replace(rows=(*self.rows[: self.rows.index(last)], last.replace(emits="float32")))

    def to_json(self) -> dict[str, Any]:
        """The spec as a dict of JSON values."""
        return {
            "name": self.name,
            "task": self.task,
            "input": self.input.to_json(),
            "rows": [row.to_json() for row in self.rows],
        }

    @staticmethod
    def from_json(data: Any) -> ModelSpec:
        """Read a spec, checked.

        Args:
            data (Any): a dict as `to_json` gives it.

        Returns:
            A `ModelSpec`.

        Raises:
            SpecError: the dict is no spec.
        """
        check_keys(data, "a spec", required={"name", "task", "input", "rows"})
        require(isinstance(data["rows"], list), "a spec's rows are a list")
        return ModelSpec(
            name=data["name"],
            task=data["task"],
            input=inputs.from_json(data["input"]),
            rows=tuple(Block.from_json(row) for row in data["rows"]),
        )

    def dumps(self) -> str:
        """The spec as JSON text, without blanks."""
        return json.dumps(self.to_json(), separators=(",", ":"))

    @staticmethod
    def loads(text: str) -> ModelSpec:
        """Read a spec from JSON text, checked.

        Args:
            text (str): text as `dumps` gives it.

        Returns:
            A `ModelSpec`.

        Raises:
            SpecError: the text is no JSON, or no spec.
        """
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise SpecError(f"Not a model spec: the JSON does not parse ({error}).") from None
        return ModelSpec.from_json(data)


def _check_value(value: Value, where: str, depth: int = 1) -> None:
    require(depth <= MAX_DEPTH, f"{where} is nested too deeply")
    if isinstance(value, tuple):
        require(len(value) <= MAX_ROWS, f"{where} has {len(value)} elements")
        for element in value:
            _check_value(element, where, depth + 1)
        return
    if isinstance(value, Block):
        for _, argument in value.arguments:
            _check_value(argument, where, depth + 1)
        return
    scalar = isinstance(value, (bool, str)) or is_number(value)
    require(scalar, f"{where} is {short(value)}, not a finite number, a string, a tuple or a Block")


def _value_to_json(value: Value) -> Any:
    if isinstance(value, Block):
        return value.to_json()
    if isinstance(value, tuple):
        return [_value_to_json(element) for element in value]
    return value


def _value_from_json(value: Any, depth: int) -> Value:
    require(depth <= MAX_DEPTH, "arguments are nested too deeply")
    if isinstance(value, dict):
        return Block.from_json(value, depth)
    if isinstance(value, list):
        return tuple(_value_from_json(element, depth + 1) for element in value)
    return value
