"""Pictures of Parquet files for reading in any order: one temporary Arrow file, mapped into memory."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from zoo.data.hub import undecoded
from zoo.data.parquet import ParquetFiles, without_bytes
from zoo.data.picture_paths import TablePictures


def mapped(table: ParquetFiles, image: str) -> tuple[Any, str]:
    """(the pictures of Parquet files as a Dataset mapped from one temporary Arrow file, the digest of all of it).

    Single rows of Parquet cannot be read quickly, and load_dataset would leave a copy in ~/.cache. The temporary file
    is deleted with the Dataset. It is written once, takes no memory, and workers open it by its path. It holds the
    pictures that the table names by their paths, too: those are read once, and are what the digest says.
    """
    import pyarrow as pa
    from datasets import Dataset as Table
    from datasets import Features

    schema = Features({"image": undecoded()}).arrow_schema
    folder = tempfile.mkdtemp(prefix="zoo-pictures-")
    named = TablePictures(table)
    try:
        with pa.OSFile(f"{folder}/pictures.arrow", "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
            for file, batch in table.cells_by_file([image]):
                for cells in _in_bytes(named, file, undecoded().cast_storage(batch.column(0))):
                    writer.write_batch(pa.record_batch([cells], schema=schema))
        pictures = Table.from_file(f"{folder}/pictures.arrow")
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise ValueError(
                f"{folder} has no room for the pictures of {table.where}; set TMPDIR to where there is."
            ) from None
        if isinstance(error, (TypeError, pa.ArrowNotImplementedError)):
            reason = str(error).splitlines()[0]
            raise ValueError(f"Column {image!r} of {table.where} holds no pictures ({reason}).") from None
        raise
    weakref.finalize(pictures, _remove, folder, os.getpid())
    return pictures, named.sha256()


def _in_bytes(named: TablePictures, file: Path, cells: Any) -> Iterator[Any]:
    """Arrow arrays of the same cells, {bytes, path}, with the bytes of each picture that a path stands for."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pc.any(pc.and_(without_bytes(cells), pc.is_valid(cells.field("path")))).as_py():
        yield cells
        return
    for cell in cells:  # one at a time: pictures are larger than their paths
        yield pa.array([{"bytes": named.read(file, cell.as_py()), "path": None}], cells.type)


def _remove(folder: str, owner: int) -> None:
    if os.getpid() == owner:  # a forked worker's copy of the Dataset must not delete it
        shutil.rmtree(folder, ignore_errors=True)
