"""The zoo's files: paths, writes that are complete or do not happen, and caches that are checked at each use."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from zoo.printable import PrintableError

ABANDONED = 24 * 3600  # seconds after which an unfinished file is a killed process's
MAX_TEXT = 256 * 2**20  # bytes of a text file that is read whole
T = TypeVar("T")


class FileError(PrintableError):
    """A file or folder that cannot be read, trusted or written.

    Args:
        message (str): the path, what is wrong, and what to do.

    Example:
        >>> zoo.load("no/such/folder")
        Traceback (most recent call last):
            ...
        FileError: no/such/folder: no such file or folder. ...
    """


def local_path(path: str | os.PathLike[str]) -> Path:
    """The path of an argument, its `~` the home folder. An empty one is refused: it is no name of this folder."""
    if not os.fspath(path):
        raise FileError("The path is empty (''): there is no such picture, file or folder; write . for this folder.")
    return Path(os.path.expanduser(path))


def given_path(argument: str) -> Path:
    """`local_path` of what a command line names, where - is standard input."""
    return Path("/dev/stdin") if argument == "-" else local_path(argument)


def path_to_write(path: str | os.PathLike[str], what: str = "folder") -> Path:
    """`local_path` of a file or folder that is to be written."""
    if not os.fspath(path):
        raise FileError(f"The path is empty (''): give a {what} to write to.")
    return local_path(path)


def file_name(text: str) -> str:
    """A part of a file's name made of text from anywhere: letters, digits, "_", "-" and inner dots, at most 100."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", text)[:100].strip(".") or "_"


def cache_folder(what: str, cache_dir: str | os.PathLike[str] | None = None) -> Path:
    """The zoo's own folder in `cache_dir`, by default in Hugging Face's cache of assets (HF_HOME, HF_ASSETS_CACHE)."""
    if cache_dir is not None:
        return local_path(cache_dir) / "zoo" / what
    from huggingface_hub import constants

    return Path(constants.HF_ASSETS_CACHE) / "zoo" / "weights" / what


def hub_cache() -> Path:
    """Hugging Face's cache of repositories (HF_HUB_CACHE)."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def lines_of(path: Path, what: str) -> list[str]:
    """The lines of a text file that are not empty; `what` says in an error what such a file is for.

    A pipe is read to its end. Raises FileError for a file that is no text, or longer than `MAX_TEXT`.
    """
    return [line for line in text_of(path, what).splitlines() if line.strip()]


def text_of(path: Path, what: str) -> str:
    """A whole text file; raises what `lines_of` raises."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_TEXT + 1)
        if len(content) > MAX_TEXT:
            raise FileError(f"{path}: {what}: it has more than {MAX_TEXT:,} bytes.")
        return content.decode()
    except UnicodeDecodeError:
        raise FileError(f"{path}: {what}: it is no text in UTF-8.") from None
    except OSError as error:
        raise FileError(f"{path}: {what}: {error.strerror or error}.") from None


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_folder(folder: Path) -> None:
    """Raise FileError where `make_folder` would, and make nothing: for what takes long before it writes."""
    try:
        place = next(one for one in (folder, *folder.absolute().parents) if one.exists())
        if not place.is_dir():
            raise OSError(code := errno.EEXIST if place == folder else errno.ENOTDIR, os.strerror(code))
        if place != folder and not os.access(place, os.W_OK | os.X_OK):
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise FileError(f"{folder}: cannot be a folder: {error.strerror or error}.") from None


def make_folder(folder: Path) -> None:
    """With its parents; raises FileError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f"{folder}: cannot be a folder: {error.strerror or error}.") from None


@contextmanager
def kept_if_filled(folder: Path) -> Iterator[None]:
    """After an error, remove the folder and its parents where they are new and empty."""
    new = [one for one in (folder, *folder.absolute().parents) if not one.exists()]
    try:
        yield
    except BaseException:
        with suppress(OSError):  # the first that is not empty, or was never made
            for one in new:
                one.rmdir()
        raise


@contextmanager
def written_whole(file: Path) -> Iterator[Path]:
    """A temporary path beside `file`, with its suffix; it replaces `file` in one step if the body raises nothing.

    A link in its place is replaced, never written through. Raises FileError; what was there is untouched then.
    """
    try:
        with unfinished(file) as part:
            yield part
            with part.open("r+b") as written:
                os.fsync(written.fileno())
            os.replace(part, file)
    except OSError as error:
        reason = error.strerror or str(error)
        raise FileError(f"{file}: cannot be written: {reason}; what was there is untouched.") from error


@contextmanager
def unfinished(file: Path) -> Iterator[Path]:
    """A temporary path beside `file`, with its suffix, removed at the end. Files that killed processes left go too."""
    for old in _parts(file):
        _remove_abandoned(old)
    part = file.with_name(f"{_start(file)}{secrets.token_hex(6)}.tmp{file.suffix}")
    try:
        yield part
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def write_whole(file: Path, parts: Iterable[Any]) -> None:
    """Write `parts`, bytes or arrays, to a file: complete, or not at all."""
    with written_whole(file) as part:
        write_parts(part, parts)


def write_parts(file: Path, parts: Iterable[Any]) -> None:
    """Write a new file, and flush it to the disk."""
    with file.open("xb") as opened:
        for one in parts:
            opened.write(one)
        opened.flush()
        os.fsync(opened.fileno())


def remove(path: Path) -> None:
    """Remove a file, or a link but not its target; move a folder of that name aside. Raises FileError."""
    try:
        if path.is_dir() and not path.is_symlink():
            path.rename(path.with_name(f"{path.name}.aside-{secrets.token_hex(6)}"))
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise FileError(f"{path}: is damaged, and cannot be removed: {error.strerror or error}.") from None


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Lock a file: of two processes or threads one makes it, and the other reads it. The folder is made."""
    from filelock import FileLock

    lock = file.with_suffix(".lock")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        if lock.is_symlink() or lock.is_dir():  # opening would write through it
            remove(lock)
        holder = FileLock(lock, mode=0o666)  # the umask applies; other users may share the cache
        holder.acquire()
    except OSError as error:
        raise FileError(f"{file.parent}: cannot be written: {error.strerror}; name another by cache_dir.") from None
    try:
        yield
    finally:
        holder.release()


def cached(file: Path, make: Callable[[Path], None], read: Callable[[Path], T]) -> T:
    """Read the cache entry `file` with `read`; if it is missing, `make` writes it first, to the path it is given.

    A seal lies beside the entry, of its name and its content, and is checked at each use: a damaged entry, or one of
    another name, is made anew. So is one for which `read` raises FileError. Raises FileError where a new entry cannot
    be read either.
    """
    with suppress(FileError):
        return _checked(file, read)
    with locked(file):
        with suppress(FileError):  # another process has made it meanwhile
            return _checked(file, read)
        for old in (*_parts(file), *_parts(_seal(file))):  # whoever wrote them is dead: the lock is ours
            with suppress(OSError):
                old.unlink()
        remove(file)
        remove(_seal(file))
        with written_whole(file) as part:
            make(part)
            seal = _seal_of(file, sha256_of(part))
        write_whole(_seal(file), (seal.encode(),))
        return _checked(file, read)


def forget(file: Path) -> None:
    """Make an entry of a cache anew at its next use."""
    remove(_seal(file))


def _seal(file: Path) -> Path:
    return file.with_name(f"{file.name}.sha256")


def _seal_of(file: Path, digest: str) -> str:
    """The seal of an entry with that SHA-256: with the entry's name, so that a renamed entry has none."""
    return hashlib.sha256(f"{file.name} {digest}".encode(errors="surrogateescape")).hexdigest()


def _checked(file: Path, read: Callable[[Path], T]) -> T:
    try:
        seal = _seal(file)
        ours = file.is_file() and seal.is_file() and seal.stat().st_size == 64
        whole = ours and seal.read_bytes() == _seal_of(file, sha256_of(file)).encode()
    except OSError as error:
        raise FileError(f"{file}: cannot be read: {error.strerror or error}.") from None
    if not whole:
        raise FileError(f"{file}: is damaged.")
    return read(file)


def _start(file: Path) -> str:
    """What the names of its unfinished files begin with: whole but for names that nearly fill the system's limit."""
    return f".{os.fsencode(file.stem)[:180].decode(errors='ignore')}-"


def _parts(file: Path) -> list[Path]:
    """The unfinished files of `file`, and of those: what is written to a temporary path may be written by another."""
    mark = r"[0-9a-f]{12}\.tmp"
    name = re.compile(rf"\.?{re.escape(_start(file))}{mark}(-{mark})?{re.escape(file.suffix)}")
    try:
        return [file.with_name(one.name) for one in os.scandir(file.parent) if name.fullmatch(one.name)]
    except OSError:
        return []


def _remove_abandoned(part: Path) -> None:
    with suppress(OSError):
        if time.time() - part.lstat().st_mtime > ABANDONED:
            part.unlink()
