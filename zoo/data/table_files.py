"""Read tables of any size from Parquet and CSV files, a batch of rows at a time."""

from __future__ import annotations

import csv
import gzip
import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from glob import glob, has_magic
from io import TextIOWrapper
from pathlib import Path
from typing import Any

from zoo.data.folders import tell_left_out
from zoo.data.parquet import choose_column, digest_of
from zoo.data.splits import DataNotFound
from zoo.files import local_path

PARQUET = (".parquet", ".pq")
CSV = (".csv", ".tsv", ".csv.gz", ".tsv.gz")
ROWS = 65_536  # of a batch
BLOCK = 8 * 2**20  # bytes of a CSV file that are read at a time
MOST_COLUMNS = 2**16
MOST_VALUES = 2**28  # of one column in a row group: lists of a small file can be long

Seen = Callable[[int, int], None]  # (bytes, or rows, that were read; of how many)


class TableFiles:
    """One table in several files of one format. Raises ValueError for a file that is no table.

    `types` are Arrow's types of columns of CSV files; the type of another column follows from its first values.
    """

    def __init__(self, files: Sequence[Path], where: str, types: Mapping[str, Any] | None = None) -> None:
        self.files, self.where, self.types = list(files), where, dict(types or {})
        self._pa = _pyarrow()
        self.parquet = suffix_of(self.files[0]) in PARQUET
        for file in self.files:
            if not file.is_file():  # a pipe would be waited for
                raise ValueError(f"{file} is no regular file; tables are read from files alone.")
            if (suffix_of(file) in PARQUET) != self.parquet or suffix_of(file) not in (*PARQUET, *CSV):
                raise ValueError(f"{file} is no table that is read: {', '.join((*PARQUET, *CSV))}, all of one format.")
        self.columns: list[str] = []
        self.schema = self._schema(self.files[0])
        self.columns = list(self.schema.names)

    @property
    def rows(self) -> int | None:
        """How many there are; None for CSV, which says it at its end only."""
        if not self.parquet:
            return None
        return sum(self._opened(file).metadata.num_rows for file in self.files)

    def column(self, what: str, given: str | None, usual: Sequence[str], kind: str = "") -> str:
        """The column given, else one with a usual name; raises ValueError where a file has none."""
        name = choose_column(self.columns, what, given, usual, [], self.where)
        self.check([name])
        return name

    def check(self, columns: Sequence[str]) -> None:
        """Raise ValueError, naming the first, where a file lacks one of `columns` or has it twice."""
        for file in self.files:
            names = self.columns if file == self.files[0] else list(self._schema(file).names)
            for name in columns:
                if (times := names.count(name)) != 1:
                    shown = ", ".join(map(repr, names[:20])) + (", ..." if len(names) > 20 else "")
                    have = "no column" if not times else f"{times} columns called"
                    raise ValueError(f"{file.name} has {have} {name!r}; its columns are {shown}.")

    def batches(self, columns: Sequence[str], rows: int = ROWS) -> Iterator[Any]:
        """Record batches of `columns`, up to `rows` rows each, in the order of the rows."""
        self.check(columns)
        for file in self.files:
            yield from self._read(file, (self._of_parquet if self.parquet else self._of_csv)(file, list(columns), rows))

    def _read(self, file: Path, batches: Iterator[Any]) -> Iterator[Any]:
        """The batches that hold rows; raises ValueError, naming the file, for one that cannot be read."""
        try:
            for batch in batches:
                if batch.num_rows:
                    yield batch
        except (OSError, self._pa.ArrowException) as error:
            raise ValueError(f"{file} cannot be read: {self._told(error, file)}.") from None

    def row_groups(self) -> list[tuple[Path, int, int]]:
        """(file, number, rows) of every row group of Parquet files that has rows."""
        found = []
        for file in self.files:
            held = self._opened(file).metadata
            counts = [held.row_group(number).num_rows for number in range(held.num_row_groups)]
            found += [(file, number, rows) for number, rows in enumerate(counts) if rows]
        return found

    def row_group(self, file: Path, number: int, columns: Sequence[str], rows: int = ROWS) -> Iterator[Any]:
        """Record batches of `columns` of one row group."""
        return self._read(file, self._of_parquet(file, list(columns), rows, [number]))

    def sha256(self) -> str:
        """The SHA-256 of the file; for several files, of their names and digests."""
        return digest_of(self.files)

    def _schema(self, file: Path) -> Any:
        if self.parquet:
            return self._opened(file).schema_arrow
        try:
            with _decompressed(file) as opened:
                _check_count(file, opened.readline(BLOCK).count(_delimiter(file).encode()) + 1)
            with self._csv(file, None, {}) as reader:
                return reader.schema
        except (OSError, EOFError, zlib.error, self._pa.ArrowException) as error:
            raise ValueError(f"{file} cannot be read as CSV: {self._told(error, file)}.") from None

    def _opened(self, file: Path) -> Any:
        import pyarrow.parquet as pq

        try:
            opened = pq.ParquetFile(file)
        except (OSError, ValueError, RecursionError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise ValueError(f"{file} cannot be read as Parquet ({reason}).") from None
        _check_count(file, opened.metadata.num_columns)
        return opened

    def _of_parquet(
        self, file: Path, columns: list[str], rows: int, groups: Sequence[int] | None = None
    ) -> Iterator[Any]:
        """Texts come with their dictionaries: a small file can have long ones, each for many rows."""
        import pyarrow.parquet as pq

        metadata = self._opened(file).metadata
        leaves = [metadata.schema.column(i) for i in range(len(metadata.schema))]
        texts = [one.path for one in leaves if one.physical_type == "BYTE_ARRAY" and one.path in columns]
        for group in range(metadata.num_row_groups) if groups is None else groups:
            held = metadata.row_group(group)
            for part in map(held.column, range(held.num_columns)):
                if _top(part.path_in_schema) in columns and part.num_values > MOST_VALUES:
                    raise ValueError(
                        f"{file} has {part.num_values:,} values of column {_top(part.path_in_schema)!r} in one row "
                        f"group; up to {MOST_VALUES:,} are read. Write it in smaller row groups."
                    )
        opened = pq.ParquetFile(file, metadata=metadata, read_dictionary=texts)
        for group in range(metadata.num_row_groups) if groups is None else groups:  # each has dictionaries of its own
            yield from opened.iter_batches(rows, row_groups=[group], columns=columns, use_threads=False)

    def _of_csv(self, file: Path, columns: list[str], rows: int) -> Iterator[Any]:
        with self._csv(file, columns, self.types) as reader:
            for block in reader:
                for start in range(0, block.num_rows, rows):
                    yield block.slice(start, rows)

    def _csv(self, file: Path, columns: list[str] | None, types: Mapping[str, Any]) -> Any:
        from pyarrow import csv as arrow_csv

        return arrow_csv.open_csv(
            file,
            read_options=arrow_csv.ReadOptions(block_size=BLOCK, use_threads=False),
            parse_options=arrow_csv.ParseOptions(delimiter=_delimiter(file), newlines_in_values=True),
            convert_options=arrow_csv.ConvertOptions(column_types=types, include_columns=columns),
        )

    def _told(self, error: BaseException, file: Path) -> str:
        """pyarrow's message, with the column by its name."""
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        if "block" in reason and not self.parquet and (longest := _longest(file)):
            return longest
        if (found := re.search(r"In CSV column #(\d+): ", reason)) and int(found[1]) < len(self.columns):
            rest = re.sub(r"^Row #(\d+)", lambda row: f"row {int(row[1]) - 2}", reason[found.end() :])  # 1: the header
            return f"column {self.columns[int(found[1])]!r}: {rest}"
        return reason


def open_tables(data: str | Path, types: Mapping[str, Any] | None = None) -> TableFiles:
    """The table of a file, of all the files that a glob names, or of those right in a folder, Parquet before CSV."""
    path = local_path(data)
    if path.is_dir():
        found = sorted(file for file in path.iterdir() if not file.name.startswith("."))
        parquet = [file for file in found if suffix_of(file) in PARQUET]
        files = parquet or [file for file in found if suffix_of(file) in CSV]
        if not files:
            raise ValueError(f"{path} holds no table: {', '.join((*PARQUET, *CSV))}.")
        tell_left_out(path, "Parquet" if parquet else "CSV", files)
    elif not path.exists() and has_magic(str(path)):
        files = [Path(name) for name in sorted(glob(str(path), recursive=True))]
    else:
        files = [path] if path.exists() else []
    if not files:
        raise DataNotFound(f"No such table: {data}. A table is a Parquet or CSV file, or a folder of them.")
    return TableFiles(files, path.name, types)


def _longest(file: Path) -> str:
    """Which value of a CSV file is longer than what is read at a time; "" where none is."""
    before = csv.field_size_limit(16 * BLOCK)
    try:
        with (
            _decompressed(file) as opened,
            TextIOWrapper(opened, encoding="utf-8", errors="replace", newline="") as text,
        ):
            lines = csv.reader(text, delimiter=_delimiter(file))
            names = next(lines, [])
            for number, row in enumerate(lines):
                place = max(range(len(row)), key=lambda place: len(row[place]), default=0)
                if row and sum(map(len, row)) > BLOCK and place < len(names):
                    return (
                        f"column {names[place]!r} has a value of {len(row[place]):,} characters in row {number:,}, and "
                        f"rows of up to {BLOCK:,} bytes are read"
                    )
    except (csv.Error, OSError, EOFError, zlib.error):
        pass
    finally:
        csv.field_size_limit(before)
    return ""


def _check_count(file: Path, columns: int) -> None:
    """Before any column is looked at: each costs memory and time."""
    if columns > MOST_COLUMNS:
        raise ValueError(
            f"{file} has {columns:,} columns, and tables of up to {MOST_COLUMNS:,} are read. Write the ones that count."
        )


def _decompressed(file: Path) -> Any:
    return gzip.open(file) if file.name.lower().endswith(".gz") else file.open("rb")


def _delimiter(file: Path) -> str:
    return "\t" if suffix_of(file).startswith(".tsv") else ","


def _top(path: str) -> str:
    """The column that a leaf of Parquet's schema belongs to: "genres" of "genres.list.element"."""
    return path.split(".")[0]


def suffix_of(file: Path) -> str:
    """What the file's name ends in, in small letters: ".csv.gz", ".parquet"."""
    name = file.name.lower()
    return next((one for one in (*PARQUET, *CSV) if name.endswith(one)), file.suffix.lower())


def _pyarrow() -> Any:
    try:
        import pyarrow as pa
    except ImportError:
        raise ValueError("Reading tables needs pyarrow: pip install 'zoo-efficient[tables]'.") from None
    return pa
