"""Tables of texts in CSV files and JSON lines, with the call of `ParquetFiles`. They are read whole, within a limit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from zoo.data.parquet import BATCH, ParquetFiles, choose_column, digest_of, named_labels, whole
from zoo.data.table_files import CSV, PARQUET, TableFiles, suffix_of
from zoo.files import local_path

JSON_LINES = (".jsonl", ".ndjson")
TEXT_TABLES = (*PARQUET, *CSV, *JSON_LINES)
MOST_BYTES = 2**30  # of all files together


def text_table(files: Sequence[Path], where: str) -> Any:
    """The table in `files`: a `ParquetFiles`, or a `TextTable` with the same call."""
    return ParquetFiles(files, where) if suffix_of(files[0]) in PARQUET else TextTable(files, where)


class TextTable:
    """One table in CSV files, where every value is a text, or in files of JSON lines: an object a line.

    Raises ValueError for a file that is neither, and for files that are larger than 1 GiB together.
    """

    features: ClassVar[dict[str, dict[str, Any]]] = {}

    def __init__(self, files: Sequence[Path], where: str) -> None:
        self.files, self.where = [local_path(file) for file in files], where
        self._pa = _pyarrow()
        for file in self.files:
            if not file.is_file():  # a pipe would be waited for
                raise ValueError(f"{file} is no regular file; tables are read from files alone.")
        if (size := sum(file.stat().st_size for file in self.files)) > MOST_BYTES:
            raise ValueError(f"{where} has {size:,} bytes, and up to {MOST_BYTES:,} are read: write it as Parquet.")
        tables = [self._json(file) if suffix_of(file) in JSON_LINES else self._csv(file) for file in files]
        for file, table in zip(files, tables, strict=True):
            if missing := [name for name in tables[0].column_names if name not in table.column_names]:
                raise ValueError(
                    f"{file} has the columns {table.column_names}, but not {missing[0]!r}, which {files[0].name} has."
                )
        self._table = self._joined(tables)
        self.columns: list[str] = self._table.column_names
        self._named: dict[str, tuple[np.ndarray, tuple[str, ...]]] = {}  # column -> its labels and their names

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def column(self, what: str, given: str | None, usual: Sequence[str], kind: str) -> str:
        """The column given, else a column with a usual name; raises ValueError if there is no such column."""
        return choose_column(self.columns, what, given, usual, [], self.where)

    def labels(self, column: str) -> np.ndarray:
        """The labels, int64 (N,): whole numbers, or the places of texts among their sorted names."""
        return self._labels(column)[0]

    def class_names(self, column: str) -> tuple[str, ...]:
        """The names of the labels of `column`, sorted, where labels are texts."""
        return self._labels(column)[1]

    def type_of(self, column: str) -> str:
        """The Arrow type of a column, in words."""
        return str(self._table.schema.field(column).type)

    def number(self, key: str) -> int | None:
        """None: such files have no metadata."""
        return None

    def cells(self, columns: Sequence[str]) -> Iterator[Any]:
        """Record batches of `columns`, a few rows each, in the order of the rows."""
        yield from self._table.select(list(columns)).to_batches(max_chunksize=BATCH)

    def sha256(self) -> str:
        """The SHA-256 of the file; for several files, of their names and digests."""
        return digest_of(self.files)

    def _labels(self, column: str) -> tuple[np.ndarray, tuple[str, ...]]:
        if column not in self._named:
            self._named[column] = self._read_labels(self._table.column(column), column)
        return self._named[column]

    def _read_labels(self, found: Any, column: str) -> tuple[np.ndarray, tuple[str, ...]]:
        import pyarrow.compute as pc

        if not self._pa.types.is_string(found.type):
            return whole(found, column, self.where), ()
        if not found.null_count and pc.all(pc.match_substring_regex(found, r"^\s*-?\d{1,18}\s*$")).as_py():
            return whole(pc.cast(pc.utf8_trim_whitespace(found), self._pa.int64()), column, self.where), ()
        return named_labels(found.to_pylist(), column, self.where)

    def _csv(self, file: Path) -> Any:
        files = TableFiles([file], self.where)
        types = dict.fromkeys(files.columns, self._pa.string())
        files = TableFiles([file], self.where, types)
        files.check(files.columns)
        schema = self._pa.schema(list(types.items()))
        return self._pa.Table.from_batches(list(files.batches(files.columns)), schema)

    def _json(self, file: Path) -> Any:
        from pyarrow import json

        try:
            found = json.read_json(file, json.ReadOptions(use_threads=False, block_size=2**26))
        except (OSError, self._pa.ArrowException) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise ValueError(
                f"{file} cannot be read as JSON lines, an object with the columns a line ({reason})."
            ) from None
        return found

    def _joined(self, tables: list[Any]) -> Any:
        try:
            return self._pa.concat_tables(tables, promote_options="default")
        except self._pa.ArrowException as error:
            raise ValueError(f"The files of {self.where} do not fit together: {error}.") from None


def _pyarrow() -> Any:
    try:
        import pyarrow as pa
    except ImportError:
        raise ValueError("Reading tables needs pyarrow: pip install 'zoo-efficient[train]'.") from None
    return pa
