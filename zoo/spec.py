"""A model is data: named rows, one a block, that any process can read without torch."""

from __future__ import annotations

import json
import math
import reprlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

# int8_dynamic: each token ranged as it comes; qat: trained with the roundings of int8; fused: norms folded in
PRECISIONS = ("float32", "int8", "int8_dynamic", "qat", "fused")
EMITTED = ("float32", "uint8")
MAX_ROWS = 4096
MAX_DEPTH = 8
MAX_TEXT = 200  # characters of a spec's name and of its task
MIN_CROP = 0.01
MAX_VOCABULARY = 1_000_000
MAX_TOKENS = 2**20
MAX_INT = 2**53  # the largest that every reader of JSON keeps exactly

Value = Any  # bool | int | float | str | Block | tuple[Value, ...]


class SpecError(ValueError):
    """A spec that names no network: unknown keys, wrong types, values out of bounds."""


@dataclass(frozen=True, init=False)
class Block:
    """One row: what kind of block, under which name, with which arguments.

    `name` is the row's key in the state dict. `precision` is how its weights are held, `emits` what flows out of
    it ("uint8" only between int8 rows; between qat rows it means floats that stand on uint8 codes), `taps` the earlier
    rows ("input" is the model's own) whose outputs it takes beside the previous row's. Arguments are scalars, tuples of
    them, or nested Blocks.
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
        _require(isinstance(kind, str) and isinstance(name, str), "a row's kind and name are strings")
        where = f"row {name!r}"
        _require(precision in PRECISIONS, f"{where}: precision {precision!r} is none of {PRECISIONS}")
        _require(emits in EMITTED, f"{where}: emits {emits!r} is none of {EMITTED}")
        _require(isinstance(taps, tuple) and all(isinstance(tap, str) for tap in taps), f"{where}: taps are names")
        for key, value in args.items():
            _check_value(value, f"{where}, argument {key!r}")
        for key, value in (("kind", kind), ("name", name), ("precision", precision), ("emits", emits), ("taps", taps)):
            object.__setattr__(self, key, value)
        object.__setattr__(self, "arguments", tuple(sorted(args.items())))

    @property
    def args(self) -> dict[str, Value]:
        return dict(self.arguments)

    def replace(self, **changes: Value) -> Block:
        """The same row with some of its fields or arguments changed."""
        own = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "arguments"}
        return Block(**{**own, **self.args, **changes})

    def to_json(self) -> dict[str, Any]:
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
        _check_keys(data, "a row", required={"kind", "name"}, optional={"precision", "emits", "taps", "args"})
        args = data.get("args", {})
        _require(isinstance(args, Mapping), "a row's args are an object")
        reserved = {"kind", "name", "precision", "emits", "taps"} & set(args)
        _require(not reserved, f"a row's arguments cannot be called {sorted(reserved)}")
        taps = data.get("taps", [])
        _require(isinstance(taps, list), "a row's taps are a list")
        return Block(
            data["kind"],
            data["name"],
            precision=data.get("precision", "float32"),
            emits=data.get("emits", "float32"),
            taps=tuple(taps),
            **{key: _value_from_json(value, depth + 1) for key, value in args.items()},
        )


_short = reprlib.repr


@dataclass(frozen=True)
class ImageInput:
    """What a vision model takes: (batch, channels, *size) floats, normalised by `mean` and `std` of the 0..1 range.

    A picture is resized so that its short side is `size / crop`, by `interpolation`, and cut in the middle; with
    `squash` it is resized to just that, whatever its shape.
    """

    size: tuple[int, int] = (224, 224)
    channels: int = 3
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    interpolation: str = "bicubic"
    crop: float = 0.875
    squash: bool = False

    def __post_init__(self) -> None:
        sizes = (*self.size, self.channels) if isinstance(self.size, tuple) and len(self.size) == 2 else ()
        _require(
            bool(sizes) and all(_is_int(n) and 1 <= n <= 8192 for n in sizes), f"input size {reprlib.repr(self.size)}"
        )
        for name, values in (("mean", self.mean), ("std", self.std)):
            proper = isinstance(values, tuple) and len(values) == self.channels and all(map(_is_number, values))
            _require(proper, f"input {name} needs {self.channels} numbers, not {_short(values)}")
        _require(all(value > 0 for value in self.std), f"input std is positive, not {_short(self.std)}")
        _require(self.interpolation in ("bilinear", "bicubic"), f"unknown interpolation {_short(self.interpolation)}")
        proper = _is_number(self.crop) and MIN_CROP <= self.crop <= 1
        _require(proper, f"crop is between {MIN_CROP} and 1, not {reprlib.repr(self.crop)}")
        _require(isinstance(self.squash, bool), f"squash is true or false, not {_short(self.squash)}")


@dataclass(frozen=True)
class TextInput:
    """What a language model takes: (batch, tokens) whole numbers below `vocabulary`, at most `length` tokens.

    `padding` is the token that fills shorter texts up, `ends` are those that end a text.
    """

    vocabulary: int
    length: int = 512
    padding: int = 0
    ends: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for name, value, most in (("vocabulary", self.vocabulary, MAX_VOCABULARY), ("length", self.length, MAX_TOKENS)):
            _require(_is_int(value) and 1 <= value <= most, f"input {name} is from 1 to {most}, not {_short(value)}")
        _require(
            isinstance(self.ends, tuple) and len(self.ends) <= 64, f"input ends are tokens, not {_short(self.ends)}"
        )
        for token in (self.padding, *self.ends):
            proper = _is_int(token) and 0 <= token < self.vocabulary
            _require(proper, f"input padding and ends are tokens below {self.vocabulary}, not {_short(token)}")


INPUTS = (ImageInput, TextInput)
_LATER = {"squash"}  # fields that files of before them do not have
Input = ImageInput | TextInput


@dataclass(frozen=True)
class ModelSpec:
    """A whole network: its rows in order, what it takes, and what it is for."""

    name: str
    rows: tuple[Block, ...]
    input: Input = field(default_factory=ImageInput)
    task: str = "image-classification"

    def __post_init__(self) -> None:
        for key, text in (("name", self.name), ("task", self.task)):
            proper = isinstance(text, str) and text.isprintable() and 1 <= len(text) <= MAX_TEXT
            said = f"its name and task are printable strings of 1 to {MAX_TEXT} characters"
            _require(proper, f"{said}, and the {key} is {reprlib.repr(text)}")
        _require(isinstance(self.input, INPUTS), f"its input is an ImageInput or a TextInput, not {_short(self.input)}")
        rows = isinstance(self.rows, (tuple, list)) and all(isinstance(row, Block) for row in self.rows)
        _require(rows, "its rows are Blocks in a tuple")
        object.__setattr__(self, "rows", tuple(self.rows))  # a list would make the spec unhashable
        _require(0 < len(self.rows) <= MAX_ROWS, f"a spec has 1 to {MAX_ROWS} rows, not {len(self.rows)}")
        seen = {"input"}
        for row in self.rows:
            _require(row.name.isidentifier(), f"row name {row.name!r} is not an identifier")
            _require(row.name not in seen, f"two rows are called {row.name!r}")
            unknown = set(row.taps) - seen
            _require(not unknown, f"row {row.name!r} taps {sorted(unknown)}, which do not come before it")
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
        """The input of a network that takes pictures; raises SpecError for another."""
        _require(isinstance(self.input, ImageInput), f"{self.name} takes text, and pictures are wanted here")
        return self.input  # type: ignore[return-value]

    @property
    def texts(self) -> TextInput:
        """The input of a network that takes text; raises SpecError for another."""
        _require(isinstance(self.input, TextInput), f"{self.name} takes pictures, and text is wanted here")
        return self.input  # type: ignore[return-value]

    def replace(self, **changes: Any) -> ModelSpec:
        """The same spec with some of its fields changed."""
        return ModelSpec(**{**{f.name: getattr(self, f.name) for f in fields(self)}, **changes})

    def edit(self, row: str, **changes: Value) -> ModelSpec:
        """The same spec with one row's fields or arguments changed."""
        old = self[row]
        return self.replace(rows=tuple(old.replace(**changes) if r is old else r for r in self.rows))

    def upto(self, row: str) -> ModelSpec:
        """The same spec cut behind one row, which then emits float32."""
        last = self[row]
        return self.replace(rows=(*self.rows[: self.rows.index(last)], last.replace(emits="float32")))

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "task": self.task,
            "input": {f.name: _value_to_json(getattr(self.input, f.name)) for f in _written(self.input)},
            "rows": [row.to_json() for row in self.rows],
        }

    @staticmethod
    def from_json(data: Any) -> ModelSpec:
        _check_keys(data, "a spec", required={"name", "task", "input", "rows"})
        takes = TextInput if isinstance(data["input"], Mapping) and "vocabulary" in data["input"] else ImageInput
        own = {f.name for f in fields(takes)}
        _check_keys(data["input"], "a spec's input", required=own - _LATER, optional=_LATER & own)
        _require(isinstance(data["rows"], list), "a spec's rows are a list")
        return ModelSpec(
            name=data["name"],
            task=data["task"],
            input=takes(**{key: _value_from_json(value, 0) for key, value in data["input"].items()}),
            rows=tuple(Block.from_json(row) for row in data["rows"]),
        )

    def dumps(self) -> str:
        return json.dumps(self.to_json(), separators=(",", ":"))

    @staticmethod
    def loads(text: str) -> ModelSpec:
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise SpecError(f"Not a model spec: the JSON does not parse ({error}).") from None
        return ModelSpec.from_json(data)


def _written(given: Input) -> list[Any]:
    """The fields of an input that its JSON has."""
    return [f for f in fields(given) if f.name not in _LATER or getattr(given, f.name) != f.default]


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise SpecError(f"Not a model spec: {message}.")


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    if _is_int(value):
        return bool(abs(value) <= MAX_INT)
    return isinstance(value, float) and math.isfinite(value)


def _check_value(value: Value, where: str, depth: int = 1) -> None:
    _require(depth <= MAX_DEPTH, f"{where} is nested too deeply")
    if isinstance(value, tuple):
        _require(len(value) <= MAX_ROWS, f"{where} has {len(value)} elements")
        for element in value:
            _check_value(element, where, depth + 1)
        return
    if isinstance(value, Block):
        for _, argument in value.arguments:
            _check_value(argument, where, depth + 1)
        return
    scalar = isinstance(value, (bool, str)) or _is_number(value)
    _require(scalar, f"{where} is {reprlib.repr(value)}, not a finite number, a string, a tuple or a Block")


def _value_to_json(value: Value) -> Any:
    if isinstance(value, Block):
        return value.to_json()
    if isinstance(value, tuple):
        return [_value_to_json(element) for element in value]
    return value


def _value_from_json(value: Any, depth: int) -> Value:
    _require(depth <= MAX_DEPTH, "arguments are nested too deeply")
    if isinstance(value, dict):
        return Block.from_json(value, depth)
    if isinstance(value, list):
        return tuple(_value_from_json(element, depth + 1) for element in value)
    return value


def _check_keys(data: Any, what: str, required: set[str], optional: set[str] = frozenset()) -> None:  # type: ignore[assignment]
    _require(isinstance(data, Mapping), f"{what} is an object, not {type(data).__name__}")
    missing, unknown = required - set(data), set(data) - required - set(optional)
    _require(not missing, f"{what} lacks {sorted(missing)}")
    _require(not unknown, f"{what} has unknown keys {sorted(unknown)}")
