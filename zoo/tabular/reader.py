"""Finds rows of tables in files, in memory and on the command line."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from zoo.data.parquet import ParquetFiles
from zoo.data.readers import Examples, Reader
from zoo.data.splits import parts_of, which
from zoo.data.table_files import TableFiles, open_tables
from zoo.inputs import TableInput
from zoo.tabular.examples import GivenRow, RowOf, TableRows
from zoo.tabular.frames import as_table

SHOWN = 20  # columns of a row in a message


class RowReader(Reader):
    """Reads the columns that the network's features name; all other columns are left out."""

    one = "row"

    def __init__(self, spec: Any, columns: Sequence[str] = ()) -> None:
        super().__init__(spec, columns)
        if columns:
            raise ValueError(f"{spec.name} reads the columns of its features; input_columns= is for other networks.")
        self.names = [feature.name for feature in spec.table.features]

    def table(self, files: list[Path], where: str) -> ParquetFiles | TableFiles:
        return super().table(files, where) if files[0].name.endswith((".parquet", ".pq")) else TableFiles(files, where)

    def of_table(self, table: ParquetFiles | TableFiles) -> Examples:
        files = TableFiles(table.files, table.where, csv_types(self.spec.table))
        files.check(self.names)
        return _FileRows(files, self.names)

    def in_memory(self, data: Any) -> tuple[Any, Any, str, str]:
        """`data` is a pair (rows, labels)."""
        if not isinstance(data, (tuple, list)) or len(data) != 2:
            raise ValueError(f"data of rows is a path, or a pair (rows, labels), not {type(data).__name__}.")
        rows, labels = data
        found = TableRows(rows, self.names, self.spec.name)
        table = as_table(rows, self.names, self.spec.name)
        told = repr([[name, _plain(table.get(name))] for name in self.names] + [_plain(labels)])
        return found, labels, "the rows given", hashlib.sha256(told.encode()).hexdigest()

    def at_paths(self, paths: Sequence[Path]) -> list[Any]:
        return [row for path in paths for row in _FileRows(self.files(path), self.names)]

    def of_arguments(self, arguments: Sequence[str]) -> list[Any]:
        """Each argument is one row, a JSON object."""
        found = []
        for number, one in enumerate(arguments):
            try:
                row = json.loads(one)
            except (ValueError, RecursionError):
                row = None
            if not isinstance(row, Mapping):
                raise ValueError(
                    f"{one[:60]!r} is no row: give a JSON object, such as {self._example()}, or --rows with a Parquet "
                    "or CSV file."
                )
            found.append(GivenRow(row, number))
        return found

    def _example(self) -> str:
        """A row that the network takes, of as many columns as are read at a glance."""
        row = {one.name: ["1"] if one.kind == "list" else 1 for one in self.spec.table.features[:SHOWN]}
        shown = json.dumps(row, ensure_ascii=False)
        return shown if len(self.names) <= SHOWN else f"{shown[:-1]}, ...}} with {len(self.names):,} columns"

    def batches(self, path: str) -> tuple[int | None, Iterator[Any]]:
        files = self.files(path)
        files.check(self.names)
        return files.rows, files.batches(self.names, self.spec.input.batch)

    def files(self, path: str | Path) -> TableFiles:
        """The table at `path`, of CSV with the types of the features."""
        return open_tables(path, csv_types(self.spec.table))


def training_files(data: str | Path, split: str, input: TableInput | None = None) -> tuple[str, TableFiles]:  # noqa: A002
    """(the split's own name, its table), whose CSV is read as `input` wants it, or as its first rows say."""
    parts = parts_of(data, TableInput.tables)
    name = which(split, parts, data)
    if not isinstance(parts[name], list):
        raise ValueError(f"{data} ({name}) is no table, and networks of table rows train on Parquet or CSV.")
    return name, TableFiles(parts[name], f"{data} ({name})", csv_types(input) if input else None)


class _FileRows:
    def __init__(self, files: TableFiles, names: Sequence[str]) -> None:
        self._files, self._names = files, names

    def __iter__(self) -> Iterator[RowOf]:
        before = 0
        for batch in self._files.batches(self._names):
            table = {name: batch.column(name) for name in self._names}
            yield from (RowOf(table, place, before) for place in range(batch.num_rows))
            before += batch.num_rows

    @property
    def sha256(self) -> str:
        return self._files.sha256()


def csv_types(given: TableInput) -> dict[str, Any]:
    """Arrow's type of each feature's column in CSV: texts for values and lists, whose keys are those of numbers too."""
    import pyarrow as pa

    return {one.name: pa.string() if one.kind in ("categorical", "list") else pa.float64() for one in given.features}


def _plain(column: Any) -> Any:
    return (
        column.tolist() if hasattr(column, "tolist") else column.to_pylist() if hasattr(column, "to_pylist") else column
    )
