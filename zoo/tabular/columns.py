"""One column of a table, of any library, as keys, as numbers or as lists of keys.

Shapes: N rows, U different values, M values of all lists.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from zoo.tabular import keys
from zoo.tabular.keys import Unfit

SEPARATOR = "|"  # between the values of a list that is written as a text
FEW = 4  # the span of whole numbers may be so many times as large as the column, to be looked up by place

_NUMBERS = {int, float, bool, type(None)}


@dataclass(frozen=True)
class Keyed:
    """Single values. `keys` (U,) int64 are those of different values, and `codes` (N,) say which one each row has.

    `codes` are None where `keys` are those of the rows. `missing` says of each row whether it has none; None: none is.
    """

    keys: np.ndarray
    codes: np.ndarray | None
    missing: np.ndarray | None

    def of_rows(self, of_keys: np.ndarray) -> np.ndarray:
        """What was found for each different key, for each row (N,)."""
        return of_keys if self.codes is None else of_keys[self.codes]


@dataclass(frozen=True)
class Lists:
    """Lists: `lengths` (N,) and their values that are not missing, one list after another (M,)."""

    lengths: np.ndarray
    values: Keyed


def keyed(column: Any) -> Keyed:
    """The keys of a column of single values; raises Unfit for lists, dates and the like."""
    if (arrow := as_arrow(column)) is not None:
        return _keyed_arrow(arrow)
    if isinstance(column, np.ndarray):
        _check_flat(column)
    if isinstance(column, np.ndarray) and column.dtype.kind in "iub":
        return _keyed_integers(column, None)
    if isinstance(column, np.ndarray) and column.dtype.kind == "f":
        found, missing = keys.of_floats(column)
        return Keyed(found, None, missing)
    values = as_list(column)
    if set(map(type, values)) == {int}:
        try:
            return _keyed_integers(np.array(values, dtype=np.int64), None)
        except OverflowError:
            pass
    return _keyed_values(values)


def numbers(column: Any) -> np.ndarray:
    """The numbers of a column, float64 (N,), nan where one is missing; raises Unfit for texts, lists and dates."""
    if (arrow := as_arrow(column)) is not None:
        return _numbers_arrow(arrow)
    if isinstance(column, np.ndarray):
        _check_flat(column)
    if isinstance(column, np.ndarray) and column.dtype.kind in "iufb":
        return column.astype(np.float64)
    values = as_list(column)
    if not set(map(type, values)) <= _NUMBERS:
        values = [number(value) for value in values]
    try:
        return np.array(values, dtype=np.float64)
    except OverflowError:
        raise Unfit("has a whole number that no float can hold") from None


def number(value: Any) -> float | None:
    """One number; None where it is missing. Raises Unfit for a text, a list or another value."""
    kind = type(value)
    if kind is float or kind is int or kind is bool or value is None:
        return value  # type: ignore[no-any-return]
    if isinstance(value, (int, float)):
        return float(value)
    if kind.__name__ in ("NAType", "NaTType"):
        return None
    if kind.__name__ == "Decimal":
        return float(value)
    if isinstance(value, np.generic) or (getattr(value, "ndim", None) == 0 and hasattr(value, "item")):
        return number(value.item())
    what = "the text " + repr(value)[:60] if isinstance(value, str) else f"a {keys.kind_of(value)}"
    raise Unfit(f"has {what} where a number belongs")


def lists(column: Any) -> Lists:
    """The keys of a column of lists; a text is split at "|". Raises Unfit for single numbers."""
    if (arrow := as_arrow(column)) is not None:
        return _lists_arrow(arrow)
    parts = [values_of(cell) for cell in as_list(column)]
    lengths = np.fromiter(map(len, parts), np.int64, len(parts))
    return _without_missing(lengths, _keyed_values([value for part in parts for value in part]))


def values_of(cell: Any) -> Sequence[Any]:
    """The values of one list; raises Unfit for a single value."""
    if isinstance(cell, (list, tuple)):
        return cell
    if isinstance(cell, str):
        check_text(cell)
        return cell.split(SEPARATOR)
    if cell is None or type(cell).__name__ == "NAType" or (isinstance(cell, float) and cell != cell):
        return ()
    if many(cell) and not isinstance(cell, Mapping):
        return as_list(cell)
    if isinstance(cell, (set, frozenset)):
        raise Unfit("has a set, whose values have no order. Give a list")
    raise Unfit(f"has a single {keys.kind_of(cell)} where a list belongs")


def check_text(text: str) -> None:
    """Raise Unfit for a list that was printed: split at "|", it would be one value that nobody knows."""
    if text[:1] == "[" and text[-1:] == "]":
        raise Unfit(f"has the text {text[:60]!r}, a printed list. Write its values with {SEPARATOR!r} between them")


def many(value: Any) -> bool:
    """Whether it holds several values: a list, an array, a tensor, a column of pandas or pyarrow."""
    if isinstance(value, (str, bytes, Mapping, set, frozenset)):
        return False
    return getattr(value, "ndim", 1) > 0 and hasattr(value, "__len__") and hasattr(value, "__iter__")


def as_list(column: Any) -> list[Any]:
    """Python's values of any sequence."""
    return column.tolist() if hasattr(column, "tolist") else list(column)


def as_arrow(column: Any) -> Any:
    """The column as an Arrow array: of pyarrow's own and of pandas's; None for another, and for mixed values."""
    library = type(column).__module__.partition(".")[0]
    if library == "pyarrow":
        return column.combine_chunks() if hasattr(column, "combine_chunks") else column
    if library != "pandas":
        return None
    pyarrow = _imported("pyarrow")
    if pyarrow is None:
        return None
    try:
        return as_arrow(pyarrow.array(column, from_pandas=True))
    except (pyarrow.ArrowInvalid, pyarrow.ArrowTypeError, pyarrow.ArrowNotImplementedError, OverflowError):
        return None


def _keyed_integers(values: np.ndarray, missing: np.ndarray | None) -> Keyed:
    """By place where the numbers lie close: then each is mixed and looked up once."""
    if values.dtype.kind == "b":
        values = values.astype(np.int64)
    if len(values):
        low, high = int(values.min()), int(values.max())
        if high - low < FEW * len(values) and high < 2**63:
            found = keys.of_integers(np.arange(low, high + 1, dtype=np.int64))
            return Keyed(found, values.astype(np.int64) - low, missing)
    return Keyed(keys.of_integers(values), None, missing)


def _keyed_values(values: Sequence[Any]) -> Keyed:
    """Of Python's values: each different one is hashed once."""
    index: dict[Any, int] = {}
    try:
        codes = np.fromiter((index.setdefault(value, len(index)) for value in values), np.int64, len(values))
    except TypeError:  # a list has no hash
        found = [keys.of_value(value) for value in values]
        codes = np.arange(len(values))
    else:
        found = [keys.of_value(value) for value in index]
    lacking = np.array([key is None for key in found], dtype=bool)
    known = np.array([key or 0 for key in found], dtype=np.int64)
    return Keyed(known, codes, lacking[codes] if lacking.any() else None)


def _keyed_arrow(column: Any) -> Keyed:
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    if pa.types.is_dictionary(kind):
        return _of_dictionary(_keyed_arrow(column.dictionary), column.indices, _nulls(column))
    if pa.types.is_null(kind):
        return Keyed(np.zeros(1, np.int64), np.zeros(len(column), np.int64), np.ones(len(column), bool))
    if pa.types.is_boolean(kind):
        column = pc.cast(column, pa.int8())
    if pa.types.is_integer(column.type):
        return _keyed_integers(_filled(column), _nulls(column))
    if pa.types.is_floating(kind):
        found, missing = keys.of_floats(column.to_numpy(zero_copy_only=False))
        return Keyed(found, None, missing)
    if pa.types.is_decimal(kind):
        return _keyed_values(column.to_pylist())
    if _is_text(kind):
        found = column.dictionary_encode()
        own = _keyed_values(found.dictionary.to_pylist())
        return _of_dictionary(own, found.indices, _nulls(found))
    raise Unfit(f"holds {'lists' if is_list(kind) else kind} where single numbers or texts belong")


def _of_dictionary(own: Keyed, indices: Any, missing: np.ndarray | None) -> Keyed:
    """The column whose rows are at `indices` (N,) of other values, `own` (U,)."""
    codes = _filled(indices).astype(np.int64)
    if own.missing is not None:
        lacking = own.missing[codes] if len(own.missing) else np.ones(len(codes), bool)
        missing = lacking if missing is None else missing | lacking
    if not len(own.keys):  # no value: every row is missing
        return Keyed(np.zeros(1, np.int64), np.zeros(len(codes), np.int64), np.ones(len(codes), bool))
    return Keyed(own.keys, codes if own.codes is None else own.codes[codes], missing)


def _numbers_arrow(column: Any) -> np.ndarray:
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    kind = column.type
    if pa.types.is_null(kind):
        return np.full(len(column), np.nan)
    plain = pa.types.is_integer(kind) or pa.types.is_floating(kind)
    if pa.types.is_boolean(kind) or pa.types.is_decimal(kind):
        column = pc.cast(column, pa.int8() if pa.types.is_boolean(kind) else pa.float64())
    elif not plain:
        what = "texts" if _is_text(kind) else "lists" if is_list(kind) else str(kind)
        raise Unfit(f"holds {what} where numbers belong")
    found: np.ndarray = column.to_numpy(zero_copy_only=False).astype(np.float64)
    return found


def _lists_arrow(column: Any) -> Lists:
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if _is_text(column.type):
        printed = pc.and_(pc.starts_with(column, "["), pc.ends_with(column, "]"))
        for text in column.filter(pc.fill_null(printed, False)).slice(0, 1).to_pylist():
            check_text(text)
        column = pc.split_pattern(column, SEPARATOR)
    if pa.types.is_null(column.type):
        return Lists(np.zeros(len(column), np.int64), Keyed(np.zeros(0, np.int64), None, None))
    if not is_list(column.type):
        raise Unfit(f"holds {column.type} where lists belong")
    lengths = _filled(pc.list_value_length(column)).astype(np.int64)
    return _without_missing(lengths, _keyed_arrow(pc.list_flatten(column)))


def _without_missing(lengths: np.ndarray, values: Keyed) -> Lists:
    if values.missing is None or not values.missing.any():
        return Lists(lengths, values)
    rows = np.repeat(np.arange(len(lengths)), lengths)
    lengths = lengths - np.bincount(rows[values.missing], minlength=len(lengths))
    kept = ~values.missing
    if values.codes is None:
        return Lists(lengths, Keyed(values.keys[kept], None, None))
    return Lists(lengths, Keyed(values.keys, values.codes[kept], None))


def _filled(column: Any) -> np.ndarray:
    """The numbers of an Arrow array, 0 where one is missing."""
    import pyarrow.compute as pc

    found: np.ndarray = (pc.fill_null(column, 0) if column.null_count else column).to_numpy(zero_copy_only=False)
    return found


def _nulls(column: Any) -> np.ndarray | None:
    return column.is_null().to_numpy(zero_copy_only=False) if column.null_count else None


def _is_text(kind: Any) -> bool:
    return str(kind) in ("string", "large_string", "string_view")


def is_list(kind: Any) -> bool:
    import pyarrow as pa

    known = [getattr(pa.types, name, None) for name in ("is_list", "is_large_list", "is_fixed_size_list")]
    return any(one is not None and one(kind) for one in known)


def _imported(name: str) -> Any:
    """A library that is optional: None where it is not installed."""
    if name not in sys.modules:
        try:
            __import__(name)
        except ImportError:
            return None
    return sys.modules[name]


def _check_flat(column: np.ndarray) -> None:
    if column.ndim != 1:
        raise Unfit(f"has the shape {column.shape} where a column of single values belongs")
