"""Pictures, each with a target that belongs to its pixels: a mask, or boxes. One form for every layout of data."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from zoo.data.parquet import content_of
from zoo.data.pictures import ImageError, open_picture

Size = tuple[int, int]  # height and width


class DamagedTarget(ValueError):
    """A mask or boxes that cannot be read, or that do not fit the picture; the message names the example."""


@dataclass(frozen=True)
class Pairs:
    """One split: N pictures with a target each, decoded when they are asked for.

    Args:
        pictures (Any): `pictures[row]["image"]` is an encoded picture, {bytes, path}.
        targets (Sequence[Any]): the target of each row, as the data holds it.
        names (Sequence[str]): the name of each row in messages.
        read (Callable[[Any, Size, str], Any]): (target, size of the picture, name) -> the target as networks learn
            it; raises DamagedTarget.
        classes (tuple[str, ...]): the names of the classes.
        source (str): a short name of the data.
        sha256 (str): the SHA-256 of the data.
        named (bool): whether the data, or the caller, names the classes; else they are called by their numbers.
            Default: True.
    """

    pictures: Any
    targets: Sequence[Any]
    names: Sequence[str]
    read: Callable[[Any, Size, str], Any]
    classes: tuple[str, ...]
    source: str
    sha256: str
    named: bool = True

    def __len__(self) -> int:
        return len(self.names)

    def at(self, row: int, mode: str = "RGB") -> tuple[Image.Image, Any] | None:
        """(the picture upright in "RGB" or "L", its target); None for a picture that cannot be read.

        Raises DamagedTarget for a target that cannot be read, or does not fit the picture.
        """
        if isinstance(target := self.targets[row], Mapping) and (error := target.get("error")):
            raise DamagedTarget(f"{self.name(row)}: {error}.")  # there may be no picture
        content = content_of(self.pictures[row]["image"])
        if content is None:
            return None
        try:
            picture = open_picture(content, mode)
        except (ImageError, FileNotFoundError):
            return None
        return picture, self.read(target, (picture.height, picture.width), self.name(row))

    def name(self, row: int) -> str:
        """The row as messages name it."""
        return f"{self.source}, {self.names[row]}"


def unread(target: Any, size: Size, name: str) -> Any:
    """In the place of `Pairs.read`, until the classes are known."""
    raise NotImplementedError


def at_size(target: Any, size: Size) -> Any:
    """Boxes in the pixels of the picture at another height and width; a mask as it is."""
    if not isinstance(target, Mapping):
        return target
    height, width = target["size"]
    factors = np.array([size[1] / width, size[0] / height] * 2, np.float32)
    return {**target, "boxes": target["boxes"] * factors, "size": size}


@dataclass(frozen=True)
class PairData:
    """How pairs of one form are found.

    Args:
        splits (Callable): (data) -> the names of its splits.
        open (Callable): (data, *, split, classes, class_names, ignore_index, image_column, target_column) -> `Pairs`.
    """

    splits: Callable[[Any], Sequence[str]]
    open: Callable[..., Pairs]


class Walk:
    """Goes through pairs once, in order: iterating gives the pictures, and indexing the target of the last one.

    Boxes are in the pixels of a picture of `size`, the network's.

    A picture that cannot be read is None, and with `skip_damaged` one whose target is damaged too.
    """

    def __init__(self, pairs: Pairs, mode: str, size: Size, *, skip_damaged: bool = False) -> None:
        self._pairs, self._mode, self._size, self._skips = pairs, mode, size, skip_damaged
        self._row, self._target = -1, None

    def __iter__(self) -> Iterator[Image.Image | None]:
        for row in range(len(self._pairs)):
            try:
                found = self._pairs.at(row, self._mode)
            except DamagedTarget:
                if not self._skips:
                    raise
                found = None
            self._row, self._target = row, None if found is None else at_size(found[1], self._size)
            yield None if found is None else found[0]

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, row: int) -> Any:
        if row != self._row:
            raise IndexError(f"The target of row {self._row} is at hand, not that of row {row}.")
        return self._target
