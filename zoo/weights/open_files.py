"""Open each file of a network once, so that header and tensors come from the same file."""

from __future__ import annotations

import mmap
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    from torch import Tensor


class OpenFiles:
    """Open files by path; the end of a `with` closes all of them. Tensors are mapped, or without `mapped` read."""

    def __init__(self, mapped: bool = True) -> None:
        self._maps_files = mapped
        self._files: dict[Path, BinaryIO] = {}
        self._maps: dict[Path, mmap.mmap] = {}
        self._places: dict[tuple[Path, str], tuple[int, str, tuple[int, ...]]] = {}
        self._stack = ExitStack()

    def __enter__(self) -> OpenFiles:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def open(self, path: Path) -> BinaryIO:
        """Open the file, or return to its start; raises OSError."""
        if path not in self._files:
            self._files[path] = self._stack.enter_context(path.open("rb"))
        self._files[path].seek(0)
        return self._files[path]

    def place(self, path: Path, name: str, start: int, dtype: str, shape: tuple[int, ...]) -> None:
        """Note the start (a byte of the file), dtype and shape of the tensor `name`."""
        self._places[path, name] = start, dtype, shape

    def tensor(self, path: Path, name: str) -> Tensor:
        """A tensor noted by `place`. A mapped one is private, so that writing to the tensor changes no file."""
        import torch

        start, dtype, shape = self._places[path, name]
        kind = getattr(torch, dtype)
        count = 1
        for length in shape:
            count *= length
        if not count:
            return torch.empty(shape, dtype=kind)
        if not self._maps_files:
            return self._read(path, start, torch.empty(shape, dtype=kind))
        held: Any = self._mapped(path)
        if start % kind.itemsize:  # the header was not padded
            held, start = bytearray(held[start : start + count * kind.itemsize]), 0
        return torch.frombuffer(held, dtype=kind, count=count, offset=start).reshape(shape)

    def _read(self, path: Path, start: int, out: Tensor) -> Tensor:
        file = self.open(path)
        file.seek(start)
        held = memoryview(out.view(-1).numpy()).cast("B")  # type: ignore[arg-type]
        if file.readinto(held) != held.nbytes:  # type: ignore[attr-defined]
            raise OSError(f"{path} became shorter while it was read")
        return out

    def _mapped(self, path: Path) -> mmap.mmap:
        if path not in self._maps:  # the map is closed with its last tensor
            self._maps[path] = mmap.mmap(self.open(path).fileno(), 0, access=mmap.ACCESS_COPY)
        return self._maps[path]
