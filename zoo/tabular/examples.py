"""Rows of tables as single examples, which cost little and are prepared together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from zoo.tabular.frames import as_table
from zoo.tabular.misfits import cut


class RowOf:
    """One row: a mapping from names to columns, the row's place in these, and how many rows came before them."""

    __slots__ = ("before", "place", "table")

    def __init__(self, table: Mapping[str, Any], place: int, before: int = 0) -> None:
        self.table, self.place, self.before = table, place, before

    def __str__(self) -> str:
        return f"row {self.before + self.place}"


class GivenRow(dict[str, Any]):
    """One row of several that are given one by one: its values, and its number among all of them."""

    def __init__(self, values: Mapping[str, Any], number: int) -> None:
        super().__init__(values)
        self.number = number


class TableRows(Sequence[RowOf]):
    """The rows of a table in memory: a dict of columns, a data frame, an Arrow table, or a list of dicts."""

    def __init__(self, given: Any, wanted: Sequence[str], name: str) -> None:
        self._table = as_table(given, wanted, name)
        self._count = len(self._table[wanted[0]]) if wanted[0] in self._table else 0

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return [RowOf(self._table, one) for one in range(self._count)[place]]
        return RowOf(self._table, range(self._count)[place])

    def __iter__(self) -> Iterator[RowOf]:
        return (RowOf(self._table, place) for place in range(self._count))


def runs(rows: Sequence[RowOf]) -> Iterator[tuple[dict[str, Any], int]]:
    """Tables of rows that lie one behind the other in one table, and the number of the first row of each."""
    start = 0
    for stop in range(1, len(rows) + 1):
        before = rows[stop - 1]
        if stop < len(rows) and rows[stop].table is before.table and rows[stop].place == before.place + 1:
            continue
        first = rows[start]
        part = slice(first.place, before.place + 1)
        table = {name: cut(column, part) for name, column in first.table.items() if column is not None}
        yield table, first.before + first.place
        start = stop
