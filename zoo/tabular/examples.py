"""Rows of tables as single examples, which cost little and are prepared together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from zoo.tabular.frames import as_table


class RowOf:
    """One row: the table, a mapping from names to columns, and the row's number."""

    __slots__ = ("place", "table")

    def __init__(self, table: Mapping[str, Any], place: int) -> None:
        self.table, self.place = table, place

    def __str__(self) -> str:
        return f"row {self.place}"


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


def runs(rows: Sequence[RowOf]) -> Iterator[dict[str, Any]]:
    """Tables of rows that lie one behind the other in one table."""
    start = 0
    for stop in range(1, len(rows) + 1):
        before = rows[stop - 1]
        if stop < len(rows) and rows[stop].table is before.table and rows[stop].place == before.place + 1:
            continue
        first = rows[start]
        part = slice(first.place, before.place + 1)
        yield {name: _cut(column, part) for name, column in first.table.items() if column is not None}
        start = stop


def _cut(column: Any, part: slice) -> Any:
    return column.iloc[part] if hasattr(column, "iloc") else column[part]
