"""Estimate the memory that a checkpoint of torch.save takes, before it is opened. Nothing is unpickled here."""

from __future__ import annotations

import pickletools
from pathlib import Path
from typing import IO, Any
from zipfile import ZIP_STORED, BadZipFile, ZipFile

from zoo.files import FileError

MAX_PICKLE = 16 * 1024 * 1024  # bytes of the pickle, which lists the tensors; the values are stored separately
MAX_PARTS = 10_000_000  # of one tuple with all nested tuples: hashing visits every part
OLD_PICKLES = 5  # pickles at the start of a file in the format before zip; the tensors follow

_PUT = ("PUT", "BINPUT", "LONG_BINPUT")
_GET = ("GET", "BINGET", "LONG_BINGET")
_TUPLES = ("TUPLE", "TUPLE1", "TUPLE2", "TUPLE3")
_MARK = -1


def check_cost(path: Path, *, zipped: bool) -> None:
    """Raise FileError for a checkpoint that takes far more memory or time than its size on disk suggests."""
    try:
        if zipped:
            _check_archive(path)
        else:
            with path.open("rb") as file:
                for _ in range(OLD_PICKLES):
                    _check_pickle(path, file)
    except (OSError, BadZipFile, ValueError, IndexError, KeyError, NotImplementedError) as error:
        if isinstance(error, FileError):
            raise
        # damaged, or raw tensors: torch.load raises a clear error


def _check_archive(path: Path) -> None:
    with ZipFile(path) as archive:
        for entry in archive.infolist():
            if entry.compress_type != ZIP_STORED and "/code/" not in entry.filename:  # TorchScript's code is not read
                raise FileError(
                    f"{path}: {entry.filename} is compressed, as torch.save never writes it: it could unpack to any "
                    "size. Load it where you trust it, and save it anew with torch.save."
                )
        for entry in archive.infolist():
            if entry.filename.endswith(".pkl"):
                if entry.file_size > MAX_PICKLE:
                    raise FileError(
                        f"{path}: {entry.filename} has {entry.file_size:,} bytes, and may have {MAX_PICKLE:,}: save "
                        "`model.state_dict()` alone."
                    )
                with archive.open(entry) as file:
                    _check_pickle(path, file)


def _check_pickle(path: Path, file: IO[bytes]) -> None:
    """Follow one pickle's stack, with the size of each object instead of the object. Nested tuples can grow as 2**n."""
    stack: list[int] = []
    memo: dict[Any, int] = {}
    for operation, argument, _ in pickletools.genops(file):
        name = operation.name
        if name == "MARK":
            stack.append(_MARK)
        elif name in _PUT:
            memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif name in _GET:
            stack.append(memo[argument])
        else:
            size = 1 + _taken(stack, operation)
            if name in _TUPLES and size > MAX_PARTS:
                raise FileError(f"{path}: holds a tuple of more than {MAX_PARTS:,} parts; it is no state dict.")
            stack += [size] * len(operation.stack_after)


def _taken(stack: list[int], operation: pickletools.OpcodeInfo) -> int:
    """The size of all objects that the operation takes off the stack."""
    before, size = list(operation.stack_before), 0
    if pickletools.markobject in before:
        while (top := stack.pop()) != _MARK:
            size += top
        before = before[: before.index(pickletools.markobject)]
    for _ in before:
        size += stack.pop()
    return size
