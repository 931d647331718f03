"""Boxes as files of any layout hold them, before a picture is opened."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo.data.folders import DIGEST_BYTES

MOST_BOXES = 100_000  # of one picture


@dataclass(frozen=True)
class Found:
    """The pictures of one split with their boxes as read; `classes` are empty where the data has no names."""

    pictures: Any
    targets: Sequence[dict[str, Any]]
    names: Sequence[str]
    classes: tuple[str, ...]
    sha256: str


def raw(boxes: Any, labels: Any, *, relative: bool = False) -> dict[str, Any]:
    """Boxes (left, top, right, bottom) with their classes, or what is wrong with them under "error".

    With `relative` they are shares of the width and height.
    """
    if not isinstance(boxes, list) or not isinstance(labels, list) or len(boxes) != len(labels):
        return {"error": "boxes and classes are lists of one length"}
    if len(boxes) > MOST_BOXES:
        return {"error": f"{len(boxes):,} boxes; up to {MOST_BOXES:,} are read"}
    if not all(isinstance(label, int) and not isinstance(label, bool) and abs(label) < 2**31 for label in labels):
        return {"error": "a class is a whole number"}
    for box in boxes:
        if not isinstance(box, (list, tuple)) or len(box) != 4 or not all(map(_is_number, box)):
            return {"error": "a box is four numbers"}
    return {"boxes": boxes, "labels": labels, **({"relative": True} if relative else {})}


def by_path(file: Path) -> dict[str, Any]:
    """A picture in a file as a table would hold it."""
    return {"image": {"bytes": None, "path": str(file)}}


def digest(files: Iterable[Path], root: Path) -> str:
    """The SHA-256 of names and contents of files; of names and sizes, above 1 GB."""
    files = list(files)
    sizes = [file.stat().st_size for file in files]
    whole = sum(sizes) <= DIGEST_BYTES
    found = hashlib.sha256()
    for file, size in zip(files, sizes, strict=True):
        told = file.read_bytes() if whole else str(size).encode()
        found.update(file.relative_to(root).as_posix().encode(errors="surrogateescape") + b"\0" + told)
    return found.hexdigest()


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e9
