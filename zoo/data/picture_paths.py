"""Pictures that a table names by their paths: they lie below the table's folder, and count in its digest."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from pathlib import Path
from typing import Any

from zoo.data.parquet import ParquetFiles, content_of
from zoo.data.pictures import MAX_BYTES

_ADDRESS = re.compile(r"\w+://")


class TablePictures:
    """Reads the cells of a column of pictures, in their order; each is the bytes of a picture, or names a file.

    Tables come from others, so a path in a table opens no file elsewhere.
    """

    def __init__(self, table: ParquetFiles) -> None:
        self._table = table
        self._named: Any = None  # the digest of the pictures read by their paths, if there are any

    def read(self, file: Path, cell: Any) -> bytes | None:
        """The bytes of the picture in a cell of `file`; None for a cell without a picture that can be read.

        Raises ValueError for a path that leads out of the folder of `file`, and for an address.
        """
        content = content_of(cell)
        if not isinstance(content, str):
            return content
        found = _regular(_below(file, content))
        if self._named is None:
            self._named = hashlib.sha256()
        self._named.update(b"none" if found is None else hashlib.sha256(found).digest())
        return found

    def sha256(self) -> str:
        """The digest of the table and of all pictures that were read by their paths."""
        of_table = self._table.sha256()
        if self._named is None:
            return of_table
        return hashlib.sha256(of_table.encode() + self._named.digest()).hexdigest()


def _below(table: Path, name: str) -> Path:
    """The file that `name` stands for, counted from the table's folder; links count as what they lead to."""
    if _ADDRESS.match(name):
        raise ValueError(
            f"{table} names the picture {name!r}, an address; pictures come from files. Download it first."
        )
    root = os.path.realpath(table.parent)
    try:
        found = os.path.realpath(os.path.join(root, name))
    except ValueError:  # a zero in the name
        found = ""
    if os.path.commonpath([root, found or os.sep]) != root:
        raise ValueError(
            f"{table} names the picture {name!r}, which is not below {root}. Paths in a Parquet file count from its "
            "folder and stay below it: put the pictures there, or their bytes into the file."
        )
    return Path(found)


def _regular(path: Path) -> bytes | None:
    """The bytes of a regular file of up to `MAX_BYTES`; None for anything else, which is not waited for."""
    try:
        opened = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0))
    except OSError:
        return None
    try:
        about = os.fstat(opened)
        if not stat.S_ISREG(about.st_mode) or about.st_size > MAX_BYTES:
            return None
        with open(opened, "rb", closefd=False) as file:
            return file.read(MAX_BYTES)
    except OSError:  # a disk's
        return None
    finally:
        os.close(opened)
