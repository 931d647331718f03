"""From raw rows to the tensor that a network of table rows takes."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zoo.inputs.feature import KNOWN, MISSING, UNKNOWN, Feature
from zoo.inputs.table import Cross
from zoo.spec import ModelSpec
from zoo.tabular import columns, keys
from zoo.tabular.columns import Keyed
from zoo.tabular.examples import GivenRow, RowOf, runs
from zoo.tabular.frames import as_table
from zoo.tabular.keys import Unfit
from zoo.tabular.misfits import located, named

LARGEST = 1e30  # of a standardised number: float32 and its square stay finite
INFINITE = "has infinity where a number belongs"
REMEMBERED = 10_000  # values of a feature whose row is looked up once, where rows come one by one

_MASK = 2**64 - 1
_ODD = 0xD6E8FEB86659FD93


class TableEncoder:
    """Makes the input of a network of raw rows; `zoo.preprocess(model)` gives it.

    A value that is missing (None, nan, "") becomes row 0 of its feature's table, and one that the network does not know
    row 1. Columns that the network does not read are left out.

    Args:
        spec (ModelSpec): the network's spec, whose input is a `TableInput`.
        vocabulary (Tensor | None): the keys of the known values, int64 (known values,), sorted for each feature:
            `model.vocabulary`. Default: None, where no feature has known values.

    Raises:
        ValueError: the vocabulary is missing, or has another length than the spec says.

    Example:
        >>> from zoo.inputs import Feature, TableInput
        >>> from zoo.tabular.encoder import TableEncoder
        >>> given = TableInput((Feature("age", "numeric", mean=30.0, std=10.0),))
        >>> row = zoo.Block("global_pool", "pool")
        >>> TableEncoder(zoo.ModelSpec("ages", (row,), given))({"age": [35, None], "name": ["Ann", "Bob"]})
        tensor([[1.0000, 0.5000],
                [0.0000, 0.0000]], dtype=torch.float64)
    """

    def __init__(self, spec: ModelSpec, vocabulary: Tensor | None = None) -> None:
        self.name, self.input = spec.name, spec.table
        known = self.input.known_values
        if vocabulary is None or isinstance(vocabulary, str):
            if known:
                raise ValueError(
                    f"{spec.name} knows {known:,} values of its features by their keys, which are in the network and "
                    "not in its spec: give the network itself."
                )
            vocabulary = torch.zeros(0, dtype=torch.int64)
        if vocabulary.shape != (known,):
            raise ValueError(f"The vocabulary of {spec.name} has {known:,} keys, not {tuple(vocabulary.shape)}.")
        self.vocabulary = vocabulary.detach().cpu().numpy()
        self._parts = [_Part(one, self.vocabulary[self.input.vocabulary(one.name)]) for one in self.input.features]
        self._by_name = {part.feature.name: part for part in self._parts}
        self._starts = [self.input.columns(one.name).start for one in self.input.features]

    def __call__(self, rows: Any) -> Tensor:
        """Prepare one row, or several.

        Args:
            rows (Any): one row, a dict of single values (a list for a feature that is a list); several, a dict of
                columns, a list of dicts, a `pandas.DataFrame`, a `pyarrow.Table`, or a table that says
                `__arrow_c_stream__`, as those of polars do.

        Returns:
            A float64 tensor (rows, columns) on the CPU.

        Raises:
            ValueError: a column is missing or of another type, columns differ in length, there is no row, or a whole
                number is beyond 64 bits. The message names the column.
        """
        if isinstance(rows, list) and rows and all(type(row) is RowOf for row in rows):
            return torch.cat([self._several(part, first) for part, first in runs(rows)])
        if isinstance(rows, Mapping):
            return self._one(rows) if self._is_one(rows) else self._several(rows)
        first = rows[0].number if isinstance(rows, list) and rows and isinstance(rows[0], GivenRow) else 0
        return self._several(as_table(rows, [part.feature.name for part in self._parts], self.name, first), first)

    def in_turn(self, batches: Iterable[Any], first: int = 0) -> Iterator[Tensor]:
        """The same of the batches of one table, whose rows errors count through; `first` is the number of the first."""
        for batch in batches:
            yield self._several(as_table(batch, [part.feature.name for part in self._parts], self.name), first)
            first += len(batch)

    # -------------------------------------------------------------------------------------------------- one row

    def _is_one(self, row: Mapping[str, Any]) -> bool:
        """Whether a dict is one row, and no columns."""
        one = several = ""
        for part in self._parts:
            name = part.feature.name
            if name not in row:
                raise self._lacking(name, row)
            value = row[name]
            kind = type(value)
            listed = kind is not int and kind is not str and kind is not float and columns.many(value)
            if part.feature.kind == "list":
                continue
            if listed:
                several = several or name
            else:
                one = one or name
        if one and several:
            raise ValueError(
                f"Column {several!r} has a list, and column {one!r} a single value. Give each a single value, for one "
                "row, or each a list, for several."
            )
        if not one and not several:  # lists alone
            first = row[self._parts[0].feature.name]
            return not (columns.many(first) and len(first) and (columns.many(first[0]) or first[0] is None))
        return not several

    def _one(self, row: Mapping[str, Any]) -> Tensor:
        found: list[float] = []
        known: dict[str, int | None] = {}
        for part in self._parts:
            try:
                part.add_one(row[part.feature.name], found, known)
            except Unfit as error:
                raise named(part.feature.name, error) from None
        for *names, rows in self.input.crosses:
            found.append(_crossed([known[str(name)] for name in names], int(rows)))
        return torch.tensor([found], dtype=torch.float64)

    # ------------------------------------------------------------------------------------------------- several

    def _several(self, table: Mapping[str, Any], first: int = 0) -> Tensor:
        """`first` is the number of the first row, for errors."""
        given = {}
        for part in self._parts:
            name = part.feature.name
            if name not in table:
                raise self._lacking(name, table)
            given[name] = table[name]
        lengths = {name: len(column) for name, column in given.items()}
        other, count = next(iter(lengths.items()))
        for name, length in lengths.items():
            if length != count:
                raise ValueError(f"Column {name!r} has {length:,} values, and column {other!r} has {count:,}.")
        if not count:
            raise ValueError(f"The table has no rows: {self.name} takes at least one.")
        x = np.zeros((count, self.input.width))
        known: dict[str, Keyed] = {}
        for part, start in zip(self._parts, self._starts, strict=True):
            try:
                part.fill(given[part.feature.name], x[:, start : start + part.feature.columns], known)
            except Unfit as error:
                name = part.feature.name
                raise located(part.read, given[name], name, error, first) from None
        for place, cross in enumerate(self.input.crosses, self.input.cross_columns.start):
            x[:, place] = _crossed_columns(cross, known)
        return torch.from_numpy(x)

    def _lacking(self, name: str, table: Mapping[str, Any]) -> ValueError:
        there = [str(one) for one in table]
        shown = ", ".join(map(repr, there[:20])) + (", ..." if len(there) > 20 else "")
        return ValueError(
            f"{self.name} reads the column {name!r}, and the table has no such column: {shown or 'none'}."
        )


class _Part:
    """The columns of the tensor that one feature has, of single values and of whole columns."""

    def __init__(self, feature: Feature, vocabulary: np.ndarray) -> None:
        self.feature, self._known = feature, vocabulary
        self._values: Any = memoryview(vocabulary) if len(vocabulary) else ()  # type: ignore[arg-type]
        self._hashes = feature.num_embeddings - KNOWN if feature.hashed else 0
        self._remembered: dict[Any, tuple[int | None, int]] = {}
        self._add = getattr(self, f"_add_{feature.kind}")
        self._fill = getattr(self, f"_fill_{feature.kind}")

    def add_one(self, value: Any, found: list[float], known: dict[str, int | None]) -> None:
        """Append the columns of one value; a single value's key, for crosses, goes to `known`."""
        self._add(value, found, known)

    def fill(self, column: Any, out: np.ndarray, known: dict[str, Keyed]) -> None:
        """Write the columns of many values to `out`, which holds zeros."""
        self._fill(column, out, known)

    def read(self, column: Any) -> None:
        """Raise Unfit where `fill` would."""
        self._fill(column, np.zeros((len(column), self.feature.columns)), {})

    # ---- one value

    def _looked_up(self, value: Any) -> tuple[int | None, int]:
        """(key, row) of one value."""
        kind = type(value)
        if (plain := kind is int or kind is str) and (found := self._remembered.get(value)) is not None:
            return found
        key = keys.of_value(value)
        if key is None:
            row = MISSING
        elif self._hashes:
            row = KNOWN + (key & _MASK) % self._hashes
        else:
            place = bisect_left(self._values, key)
            row = KNOWN + place if place < len(self._values) and self._values[place] == key else UNKNOWN
        if plain:
            if len(self._remembered) >= REMEMBERED:
                self._remembered.clear()
            self._remembered[value] = key, row
        return key, row

    def _add_categorical(self, value: Any, found: list[float], known: dict[str, int | None]) -> None:
        known[self.feature.name], row = self._looked_up(value)
        found.append(row)

    def _add_list(self, cell: Any, found: list[float], known: dict[str, int | None]) -> None:
        rows = [row for key, row in map(self._looked_up, columns.values_of(cell)) if key is not None]
        most = self.feature.max_length
        found += rows[:most] + [0] * (most - len(rows))

    def _add_numeric(self, value: Any, found: list[float], known: dict[str, int | None]) -> None:
        number = columns.number(value)
        if number is None or _is_nan(number):
            found += (0.0, 0.0)
            return
        found += (1.0, self._standardised(number))

    def _standardised(self, number: float) -> float:
        value = (number - self.feature.mean) / self.feature.std
        if not -LARGEST < value < LARGEST:
            raise Unfit(f"has the number {number!r:.60}, which is too far from its mean, {self.feature.mean:g}")
        return value

    def _add_bucketed(self, value: Any, found: list[float], known: dict[str, int | None]) -> None:
        number = columns.number(value)
        if number is None or _is_nan(number):
            known[self.feature.name] = None
            found.append(MISSING)
            return
        row = KNOWN + bisect_right(self.feature.boundaries, number)
        known[self.feature.name] = keys.signed(keys.mixed(row))
        found.append(row)

    # ---- whole columns

    def _rows(self, found: Keyed) -> np.ndarray:
        """The row of each value (N,)."""
        if self._hashes:
            rows = KNOWN + (found.keys.view(np.uint64) % np.uint64(self._hashes)).astype(np.int64)
        elif len(self._known):
            places = np.minimum(np.searchsorted(self._known, found.keys), len(self._known) - 1)
            rows = np.where(self._known[places] == found.keys, places + KNOWN, UNKNOWN)
        else:
            rows = np.full(len(found.keys), UNKNOWN)
        rows = found.of_rows(rows)
        return rows if found.missing is None else np.where(found.missing, MISSING, rows)

    def _fill_categorical(self, column: Any, out: np.ndarray, known: dict[str, Keyed]) -> None:
        known[self.feature.name] = found = columns.keyed(column)
        out[:, 0] = self._rows(found)

    def _fill_list(self, column: Any, out: np.ndarray, known: dict[str, Keyed]) -> None:
        found = columns.lists(column)
        rows = self._rows(found.values)
        starts = np.cumsum(found.lengths) - found.lengths
        of_row = np.repeat(np.arange(len(found.lengths)), found.lengths)
        places = np.arange(len(rows)) - starts[of_row]
        counts = places < self.feature.max_length
        out[of_row[counts], places[counts]] = rows[counts]

    def _fill_numeric(self, column: Any, out: np.ndarray, known: dict[str, Keyed]) -> None:
        numbers, missing = _numbers(column)
        values = (numbers - self.feature.mean) / self.feature.std
        if (far := ~(np.abs(values) < LARGEST) & ~missing).any():
            self._standardised(float(numbers[far][0]))  # raises
        out[:, 0] = ~missing
        out[:, 1] = np.where(missing, 0.0, values)

    def _fill_bucketed(self, column: Any, out: np.ndarray, known: dict[str, Keyed]) -> None:
        numbers, missing = _numbers(column)
        places = np.searchsorted(self.feature.boundaries, numbers, side="right")
        of_buckets = np.arange(KNOWN, self.feature.rows + 1)  # nan sorts behind all numbers
        out[:, 0] = np.where(missing, MISSING, of_buckets[places])
        known[self.feature.name] = Keyed(keys.of_integers(of_buckets), places, missing)


def _is_nan(number: float) -> bool:
    """Whether it stands for a missing number; raises Unfit for infinity."""
    if number - number == 0:
        return False
    if number == number:
        raise Unfit(INFINITE)
    return True


def _numbers(column: Any) -> tuple[np.ndarray, np.ndarray]:
    """(numbers, which are missing); raises Unfit for infinity."""
    numbers = columns.numbers(column)
    if np.isinf(numbers).any():
        raise Unfit(INFINITE)
    return numbers, np.isnan(numbers)


def _crossed(of_values: Sequence[int | None], rows: int) -> int:
    """The row of a cross of values with these keys: 0 where one is missing."""
    if any(key is None for key in of_values):
        return MISSING
    joined = 0
    for key in of_values:
        joined = keys.mixed((joined * _ODD + int(key or 0)) & _MASK)
    return 1 + joined % (rows - 1)


def _crossed_columns(cross: Cross, known: Mapping[str, Keyed]) -> np.ndarray:
    *names, rows = cross
    parts = [known[str(name)] for name in names]
    joined = np.zeros(1, np.uint64)
    for part in parts:
        joined = keys.mixed_array(joined * np.uint64(_ODD) + part.of_rows(part.keys).view(np.uint64))
    found = 1 + (joined % np.uint64(int(rows) - 1)).astype(np.int64)
    for part in parts:
        if part.missing is not None:
            found = np.where(part.missing, MISSING, found)
    return found
