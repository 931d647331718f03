"""Find raw examples in tables, files or memory: a class for each modality."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from zoo.data import hub
from zoo.data.parquet import IMAGES, ParquetFiles, content_of
from zoo.data.picture_paths import TablePictures
from zoo.data.text_tables import text_table
from zoo.data.texts import text_columns, texts_of, translation_columns, words_of
from zoo.data.unlabelled import pictures_at, pictures_in
from zoo.data.unlabelled_texts import texts_at
from zoo.files import given_path, local_path, text_of


class Examples(Protocol):
    """The examples of a table, which is read again, a few rows at a time, by each iteration."""

    def __iter__(self) -> Iterator[Any]: ...

    @property
    def sha256(self) -> str:
        """The digest of what the last iteration read, and of what one would read if there was none."""


class Reader:
    """Finds the raw examples of one modality, which `zoo.preprocess(model)` takes.

    `spec` is the spec of the network. `columns` are columns of a table that the caller names.
    """

    folders = False  # whether a folder with a folder for every class holds examples
    one = "example"  # the word in the names of examples in memory
    usual: tuple[tuple[str, ...], ...] = ()  # columns that the task has instead of the modality's

    def __init__(self, spec: Any, columns: Sequence[str] = ()) -> None:
        self.spec, self.given = spec, tuple(columns)

    def table(self, files: list[Path], where: str) -> Any:
        """The table in `files`, as `of_table` takes it, and as the targets do."""
        return ParquetFiles(files, where)

    def of_table(self, table: Any) -> Examples:
        """The examples of a Parquet table, row by row; None for a missing one. Raises ValueError without columns."""
        raise NotImplementedError

    def of_hub(self, dataset: Any, label_column: str | None, where: str) -> tuple[hub.HubData, Iterable[Any]]:
        """(the data set of the Hub and its labels, the examples)."""
        raise ValueError(f"{where}: {self.spec.input.unit} are not read from a data set of the Hub.")

    def in_memory(self, data: Any) -> tuple[Any, Any, str, str]:
        """(examples, labels, source, SHA-256) of data in memory that `zoo.evaluate` was given."""
        raise NotImplementedError

    def at_paths(self, paths: Sequence[Path]) -> list[Any]:
        """The examples in files and folders, without labels."""
        raise ValueError(f"{self.spec.input.unit} are not read from files without labels.")

    def batches(self, path: str) -> tuple[int | None, Iterator[Any]]:
        """(how many rows there are, if that is known; the rows of a table at `path`, many at a time)."""
        raise ValueError(f"{self.spec.name} takes {self.spec.input.unit}, and rows= is for networks of table rows.")

    def of_arguments(self, arguments: Sequence[str]) -> list[Any]:
        """The examples that a command line names."""
        return list(arguments)


class _Pictures:
    def __init__(self, table: ParquetFiles, column: str) -> None:
        self._table, self._column = table, column
        self._pictures, self._rows = TablePictures(table), 0

    def __iter__(self) -> Iterator[Any]:
        self._pictures, self._rows = TablePictures(self._table), 0
        for file, batch in self._table.cells_by_file([self._column]):
            for cell in batch.column(0):
                self._rows += 1
                yield self._pictures.read(file, cell.as_py())

    @property
    def sha256(self) -> str:
        if self._rows < len(self._table):
            deque(self, maxlen=0)
        return self._pictures.sha256()


class Cells:
    """The examples that `examples_of` makes of columns of a table, each a list of Python values."""

    def __init__(
        self,
        table: Any,
        columns: Sequence[str],
        examples_of: Callable[[list[list[Any]]], Iterable[Any]] = lambda columns: zip(*columns, strict=True),
    ) -> None:
        self._table, self._columns, self._examples_of = table, columns, examples_of

    def __iter__(self) -> Iterator[Any]:
        for batch in self._table.cells(self._columns):
            yield from self._examples_of([batch.column(name).to_pylist() for name in self._columns])

    @property
    def sha256(self) -> str:
        return self._table.sha256()


class PictureReader(Reader):
    folders = True
    one = "picture"

    @property
    def _column(self) -> str | None:
        if len(self.given) > 1:
            raise ValueError(f"Pictures are in one column, not in {list(self.given)}.")
        return next(iter(self.given), None)

    def of_table(self, table: ParquetFiles) -> Examples:
        return _Pictures(table, table.column("image", self._column, IMAGES, "Image"))

    def of_hub(self, dataset: Any, label_column: str | None, where: str) -> tuple[hub.HubData, Iterable[Any]]:
        found = hub.read_pictures(dataset, self._column, label_column, where)
        return found, (content_of(row["image"]) for row in found.table)

    def in_memory(self, data: Any) -> tuple[Any, Any, str, str]:
        """`data` is a pair (images uint8 (N, H, W, 3), labels), or `zoo.samples(...)`."""
        if hasattr(data, "images") and hasattr(data, "labels"):
            images, labels, source, sha256 = data.images, data.labels, data.source, data.sha256
        elif isinstance(data, (tuple, list)) and len(data) == 2:
            (images, labels), source, sha256 = data, "the arrays given", ""
        else:
            found = type(data).__name__
            raise ValueError(f"data is a path, a pair (images, labels), or zoo.samples(...), not {found}.")
        images = np.asarray(images)
        if images.dtype != np.uint8 or images.ndim != 4:
            raise ValueError(f"images are uint8 (N, height, width, 3), not {images.dtype} of shape {images.shape}.")
        return images, labels, source, sha256 or hashlib.sha256(images.tobytes() + _bytes(labels)).hexdigest()

    def at_paths(self, paths: Sequence[Path]) -> list[Any]:
        """The pictures of files, folders, tables and JSON of COCO, `zoo.data.unlabelled.MOST` at most."""
        found, total = pictures_at(paths)
        if len(found) < total:
            warnings.warn(f"{len(found)} of the {total:,} pictures are used, at even distances.", stacklevel=2)
        return found

    def batches(self, path: str) -> tuple[int | None, Iterator[Any]]:
        """(how many rows there are, if that is known; the rows of a table at `path`, many at a time)."""
        raise ValueError(f"{self.spec.name} takes {self.spec.input.unit}, and rows= is for networks of table rows.")

    def of_arguments(self, arguments: Sequence[str]) -> list[Any]:
        """The files, and all pictures below the folders; "-" is standard input."""
        found: list[str] = []
        for image in arguments:
            path = given_path(image)
            if not path.is_dir():
                found.append(str(path) if image == "-" else image)
            elif below := pictures_in([path]):
                found += map(str, below)
            else:
                raise ValueError(f"{image} is a folder without pictures.")
        return found


class TextReader(Reader):
    one = "text"

    def table(self, files: list[Path], where: str) -> Any:
        return text_table(files, where)

    def of_arguments(self, arguments: Sequence[str]) -> list[Any]:
        """The texts themselves; of "-" the lines of standard input, of a file called .txt its lines."""
        found: list[Any] = []
        for one in arguments:
            if one == "-" or (one.endswith(".txt") and os.path.isfile(local_path(one))):  # of any length, unlike Path's
                found += [line for line in text_of(given_path(one), "no texts").splitlines() if line.strip()]
            else:
                found.append(one)
        if not found:
            raise ValueError(f"There is no text in {', '.join(arguments)}.")
        return found

    def of_table(self, table: Any) -> Examples:
        given = self.given
        if self.spec.input.translates and not given:
            given = translation_columns(table.columns, table.where)[:1]
        columns = text_columns(table.columns, given, table.where, self.usual)
        return Cells(table, columns, words_of if self.usual and len(columns) == 1 else texts_of)

    def of_hub(self, dataset: Any, label_column: str | None, where: str) -> tuple[hub.HubData, Iterable[Any]]:
        if self.usual:
            raise ValueError(f"{where}: for such a task a data set of the Hub is not read; give its Parquet files.")
        columns = text_columns(list(dataset.features), self.given, where)
        found = hub.read_texts(dataset, columns, label_column, where)
        return found, texts_of([found.table[name] for name in columns])

    def in_memory(self, data: Any) -> tuple[Any, Any, str, str]:
        """`data` is a pair (texts, labels)."""
        if not isinstance(data, (tuple, list)) or len(data) != 2 or not isinstance(data[0], (list, tuple)):
            raise ValueError(f"data of texts is a path, or a pair (texts, labels), not {type(data).__name__}.")
        texts, labels = list(data[0]), data[1]
        return texts, labels, "the texts given", hashlib.sha256(repr(texts).encode() + _bytes(labels)).hexdigest()

    def at_paths(self, paths: Sequence[Path]) -> list[Any]:
        """The lines of text files that are not empty, and the texts of tables, at most `zoo.data.unlabelled.MOST`."""
        found, total = texts_at(paths, self.of_table)
        if len(found) < total:
            warnings.warn(f"{len(found):,} of the {total:,} texts are used, at even distances.", stacklevel=2)
        return found


def _bytes(labels: Any) -> bytes:
    """The bytes of labels of any type, for a digest."""
    found = np.asarray(labels)
    return found.astype("<i8").tobytes() if np.issubdtype(found.dtype, np.integer) else repr(found.tolist()).encode()
