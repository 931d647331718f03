"""One row of a network as data: a `Block`, its checks, and JSON in and out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from zoo.checks import check_keys, is_number, require, short

# int8_dynamic: each token ranged as it comes; int4: tables of 4-bit values; w8, w4: integer weights of 8 or 4 bits,
# float products; qat: trained with the roundings of int8; fused: norms folded in
PRECISIONS = ("float32", "int8", "int8_dynamic", "int4", "w8", "w4", "qat", "fused")
EMITTED = ("float32", "uint8")
MAX_ROWS = 4096  # of a spec, and elements of a tuple
MAX_DEPTH = 8

Value = Any  # bool | int | float | str | Block | tuple[Value, ...]


@dataclass(frozen=True, init=False)
class Block:
    """One row of a spec: a kind of block, its name and its arguments. Immutable.

    Args:
        kind (str): the kind of block, such as "conv_norm_act"; `zoo.kinds` lists them.
        name (str): the row's name, an identifier; it starts the row's keys in the state dict.
        precision (str): how the weights are held: "float32", "int8", "int8_dynamic" (each token has its own range),
            "int4" (tables of 4-bit values), "w8" and "w4" (integer weights, float products), "qat" (trained with the
            roundings of int8) or "fused" (norms folded in). Default: "float32".
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
