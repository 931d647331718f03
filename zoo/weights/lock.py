"""Files in a cache that several processes may want at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from zoo.weights.header import FileError


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """So that of two processes one makes the file and the other reads it; its folder is made."""
    from filelock import FileLock

    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f"{file.parent}: cannot be a folder: {error.strerror}; name another by cache_dir.") from None
    lock = FileLock(file.with_suffix(".lock"))
    try:
        lock.acquire()
    except OSError as error:
        raise FileError(f"{file.parent}: cannot be written: {error.strerror}; name another by cache_dir.") from None
    try:
        yield
    finally:
        lock.release()
