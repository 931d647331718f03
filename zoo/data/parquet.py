"""Read Parquet files of examples: columns, labels and cells, within a stated amount of memory.

A file of a kilobyte can hold gigabytes. So the sizes in the footer are checked before anything is read, and cells are
read a few at a time.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

ROOM = 256 * 2**20
"""Bytes that may be read at a time, whatever the size of the file."""

GROWTH = 20
"""What is read may grow to this many times the size of the file, beyond `ROOM`; pictures hardly grow at all."""

MAX_ROWS = 20_000_000
MAX_CLASSES = 100_000
BATCH = 64  # small cells read at a time

IMAGES = ("img", "image")
LABELS = ("label",)


class Rows(Sequence[str]):
    """The names of rows, "row 0" and so on, made when they are asked for."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [f"row {row}" for row in range(self._count)[index]]
        return f"row {range(self._count)[index]}"


class ParquetFiles:
    """One table in several files. Raises ValueError for a file that is not Parquet or would take too much memory.

    `features` describes the columns, as the `datasets` library writes it: {"label": {"names": [...]}}.
    """

    def __init__(self, files: Sequence[Path], where: str) -> None:
        self.files, self.where = list(files), where
        self._parquet = _pyarrow()
        self._opened = [self._open(file) for file in self.files]
        self.columns: list[str] = self._opened[0].schema_arrow.names
        metadata = self._opened[0].schema_arrow.metadata or {}
        self.features = _features(metadata.get(b"huggingface", b""))
        names = metadata.get(b"class_names", b"").decode(errors="replace")
        self._metadata = metadata
        self._named: dict[str, tuple[np.ndarray, tuple[str, ...]]] = {}  # column of texts -> labels and names
        self._class_names = tuple(names.split(",")) if names else ()

    def __len__(self) -> int:
        return sum(file.metadata.num_rows for file in self._opened)

    def column(self, what: str, given: str | None, usual: Sequence[str], kind: str) -> str:
        """The column given, else a column with a usual name, else the only column of one of the types of `datasets`.

        Raises ValueError if there is no such column, or one of the files lacks the column.
        """
        alike = [name for name, feature in self.features.items() if feature.get("_type") == kind]
        name = choose_column(self.columns, what, given, usual, alike, self.where)
        for path, file in zip(self.files, self._opened, strict=True):
            if name not in file.schema_arrow.names:
                those = file.schema_arrow.names
                raise ValueError(f"{path} has the columns {those}, but not {name!r}, which {self.files[0].name} has.")
        return name

    def labels(self, column: str) -> np.ndarray:
        """The labels, int64 (N,): whole numbers, or the places of texts among their sorted names.

        Raises ValueError if a row has none, or the column holds neither.
        """
        import pyarrow as pa

        if self._texts(column):
            return self._named[column][0]

        for file in self._opened:
            self._check(file, column)
            kind = file.schema_arrow.field(column).type
            if not pa.types.is_integer(kind) and not pa.types.is_null(kind):  # checked unread: texts can be large
                raise ValueError(
                    f"{self.where} needs a whole number as the {column!r} of every row, but the column is {kind}."
                )
        table = pa.chunked_array(
            [chunk for file in self._opened for chunk in file.read([column]).column(column).chunks]
        )
        return whole(table, column, self.where)

    def class_names(self, column: str) -> tuple[str, ...]:
        """The names of the labels of `column` in the file, or the labels themselves, if they are texts; else empty."""
        if self._texts(column):
            return self._named[column][1]
        names = self.features.get(column, {}).get("names")
        known = isinstance(names, list) and all(isinstance(name, str) for name in names)
        return tuple(names) if known else self._class_names  # type: ignore[arg-type]

    def _texts(self, column: str) -> bool:
        """Whether the labels in `column` are texts, which are read once."""
        kinds = {str(file.schema_arrow.field(column).type) for file in self._opened}
        if kinds <= {"string", "large_string"} and column not in self._named:
            cells = (cell for batch in self.cells([column]) for cell in batch.column(0).to_pylist())
            self._named[column] = named_labels(cells, column, self.where)
        return column in self._named

    def type_of(self, column: str) -> str:
        """The Arrow type of a column, in words."""
        return str(self._opened[0].schema_arrow.field(column).type)

    def number(self, key: str) -> int | None:
        """The whole number that the file's metadata has under `key`; None if there is none."""
        text = self._metadata.get(key.encode(), b"").decode(errors="replace")
        return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else None

    def cells(self, columns: Sequence[str]) -> Iterator[Any]:
        """Record batches of `columns`, a few rows each, in the order of the rows."""
        return (batch for _, batch in self.cells_by_file(columns))

    def cells_by_file(self, columns: Sequence[str]) -> Iterator[tuple[Path, Any]]:
        """The same, each with the file that it is from."""
        allowed = ROOM + GROWTH * sum(file.stat().st_size for file in self.files)
        seen = 0
        for path, file in zip(self.files, self._opened, strict=True):
            most = max((self._check(file, column) for column in columns), default=1)
            # With a dictionary, each cell can be as large as the whole stored row group.
            try:
                for batch in file.iter_batches(max(1, min(BATCH, ROOM // max(1, most))), columns=list(columns)):
                    seen += batch.nbytes
                    if seen > allowed:
                        raise ValueError(
                            f"{self.where} grows to more than {GROWTH} times the size of its files while it is read; "
                            "no pictures or texts do. Write it anew."
                        )
                    yield path, batch
            except OSError as error:
                raise _unreadable(self.where, error) from None
            except ValueError as error:
                if type(error) is ValueError:
                    raise
                raise _unreadable(f"{path}", error) from None  # pyarrow's errors are ValueErrors

    def sha256(self) -> str:
        """The SHA-256 of the file; for several files, of their names and digests."""
        return digest_of(self.files)

    def _open(self, path: Path) -> Any:
        if not path.is_file():  # a pipe would be waited for
            raise ValueError(f"{path} is no regular file; Parquet is read from files alone.")
        try:
            file = self._parquet.ParquetFile(path)
        except (OSError, ValueError, RecursionError) as error:
            raise _unreadable(str(path), error) from None
        if file.metadata.num_rows > MAX_ROWS:
            raise ValueError(f"{path} has {file.metadata.num_rows:,} rows; at most {MAX_ROWS:,} are read. Split it.")
        return file

    def _check(self, file: Any, column: str) -> int:
        """The largest size of `column` in a row group, in bytes; raises ValueError for too high a compression ratio."""
        most = 0
        for group in range(file.metadata.num_row_groups):
            row_group = file.metadata.row_group(group)
            parts = [row_group.column(index) for index in range(row_group.num_columns)]
            parts = [part for part in parts if part.path_in_schema.split(".")[0] == column]
            packed = sum(part.total_compressed_size for part in parts)
            unpacked = sum(part.total_uncompressed_size for part in parts)
            if unpacked > ROOM + GROWTH * packed:
                raise ValueError(
                    f"{self.where}: row group {group} of column {column!r} has {packed:,} bytes and grows to "
                    f"{unpacked:,}; up to {GROWTH} times as many are read. Write it anew in smaller row groups."
                )
            most = max(most, unpacked)
        return most


def choose_column(
    columns: Sequence[str], what: str, given: str | None, usual: Sequence[str], alike: Sequence[str], where: str
) -> str:
    """The column given, else a column with a usual name, else the only column of `alike`; raises ValueError if none."""
    found = [name for name in usual if name in columns] or (alike if len(alike) == 1 else [])
    name = given if given is not None else next(iter(found), None)
    if name is None or name not in columns:
        missing = f"column {given!r}" if given is not None else " or ".join(map(repr, usual))
        raise ValueError(f"{where} has no {missing} for the {what}; it has {list(columns)}. Name {what}_column.")
    return name


def whole(column: Any, name: str, where: str) -> np.ndarray:
    """An Arrow column of labels as int64; raises ValueError for another type, or for a row without a label."""
    import pyarrow as pa

    if not pa.types.is_integer(column.type) or column.null_count:
        raise ValueError(
            f"{where} needs a whole number as the {name!r} of every row, but the column is {column.type} with "
            f"{column.null_count:,} of {len(column):,} missing."
        )
    numbers: np.ndarray = column.to_numpy()
    if len(numbers) and int(numbers.max()) > np.iinfo(np.int64).max:
        row = int(numbers.argmax())
        raise ValueError(f"{where} has label {int(numbers[row])} in row {row}, which is no class of any network.")
    return numbers.astype(np.int64)


def named_labels(cells: Iterable[Any], column: str, where: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """(labels int64 (N,), their names, sorted) of labels that are texts; raises ValueError for a row without one."""
    places: dict[str, int] = {}
    found: list[int] = []
    for cell in cells:
        if not isinstance(cell, str) or not cell.strip():
            raise ValueError(f"{where} has no {column!r} in row {len(found)}; every row needs one.")
        found.append(places.setdefault(cell, len(places)))
        if len(places) > MAX_CLASSES:
            raise ValueError(
                f"{where} has more than {MAX_CLASSES:,} different texts in {column!r}: no classes are so many."
            )
    names = sorted(places)
    order = np.empty(len(names), dtype=np.int64)
    order[[places[name] for name in names]] = np.arange(len(names))
    return order[np.array(found, dtype=np.int64)], tuple(names)


def check_named(labels: np.ndarray, names: Sequence[str], where: str) -> None:
    """Raise ValueError for a label without a name, where the table names its classes."""
    outside = np.flatnonzero((labels < 0) | (labels >= len(names)))
    if names and len(outside):
        row = int(outside[0])
        raise ValueError(
            f"{where} has label {int(labels[row])} in row {row}, and names {len(names)} classes, 0 to {len(names) - 1}."
        )


def content_of(cell: Any) -> bytes | str | None:
    """The bytes in a picture's cell, else the path; None if the cell has neither."""
    if isinstance(cell, dict):
        cell = cell.get("bytes") or cell.get("path")
    return cell if isinstance(cell, (bytes, str)) and cell else None


def without_bytes(cells: Any) -> Any:
    """Of an Arrow array of {bytes, path}: which cells have no bytes, so that `content_of` gives their paths."""
    import pyarrow.compute as pc

    return pc.equal(pc.fill_null(pc.binary_length(cells.field("bytes")), 0), 0)


def _pyarrow() -> Any:
    try:
        import pyarrow.parquet as parquet
    except ImportError:
        raise ValueError("Reading Parquet needs pyarrow: pip install 'zoo-efficient[train]'.") from None
    return parquet


def _features(text: bytes) -> dict[str, dict[str, Any]]:
    try:
        found = json.loads(text or b"{}").get("info", {}).get("features", {})
        return {str(name): value for name, value in found.items() if isinstance(value, dict)}
    except (ValueError, AttributeError, RecursionError):
        return {}


def _unreadable(where: str, error: BaseException) -> ValueError:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return ValueError(f"{where} cannot be read as Parquet ({reason}).")


def digest_of(files: Sequence[Path]) -> str:
    """The SHA-256 of the file; for several files, of their names and digests."""
    digests = [_sha256(file) for file in files]
    if len(digests) == 1:
        return digests[0]
    told = "".join(f"{file.name}\0{digest}\0" for file, digest in zip(files, digests, strict=True))
    return hashlib.sha256(told.encode()).hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
