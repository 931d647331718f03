"""Read boxes from text files of YOLO: for each picture in images/ a file in labels/, a line a box."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from zoo.data.folders import pictures_below
from zoo.data.pair_folders import names_in, pairs_of_folders
from zoo.data.raw_boxes import Found, by_path, digest, raw

MOST_BYTES = 5_000_000  # of one file
FOLDERS = ("labels",)


def parts(path: Path) -> dict[str, Any]:
    """Split -> what reads it, of images/ beside labels/, above or below the splits; else empty."""
    return {split: partial(_read, *pair) for split, pair in pairs_of_folders(path, FOLDERS).items()}


def _read(pictures: Path, labels: Path, root: Path, where: str) -> Found:
    files = list(pictures_below(pictures))
    beside = [labels / file.relative_to(pictures).with_suffix(".txt") for file in files]
    if not any(file.is_file() for file in beside):
        raise ValueError(f"{labels} has no .txt file with the name of a picture of {where}.")
    targets = [_boxes(file) for file in beside]
    names = [file.relative_to(root).as_posix() for file in files]
    sha256 = digest([*files, *(file for file in beside if file.is_file())], root)
    return Found([by_path(file) for file in files], targets, names, _classes(root), sha256)


def _boxes(file: Path) -> dict[str, Any]:
    """Each line: the class, the middle, the width and the height, in shares of the picture's. No file: no boxes."""
    if not file.is_file():
        return raw([], [])
    if file.stat().st_size > MOST_BYTES:
        return {"error": f"{file.name} has more than {MOST_BYTES:,} bytes"}
    boxes, labels = [], []
    for number, line in enumerate(file.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        if not (cells := line.split()):
            continue
        try:
            label, x, y, width, height = int(cells[0]), *map(float, cells[1:])
        except (ValueError, OverflowError):
            return {"error": f"line {number} of {file.name} is not a class, a middle, a width and a height"}
        boxes.append([x - width / 2, y - height / 2, x + width / 2, y + height / 2])
        labels.append(label)
    return raw(boxes, labels, relative=True)


def _classes(root: Path) -> tuple[str, ...]:
    """The names in classes.txt, or in the .yaml file beside the folders."""
    if found := names_in(root):
        return found
    for file in [*sorted(root.glob("*.yaml")), *sorted(root.glob("*.yml"))]:
        if file.stat().st_size > MOST_BYTES:
            raise ValueError(f"{file} has more than {MOST_BYTES:,} bytes; it names classes, and has fewer.")
        import yaml

        try:
            held = yaml.safe_load(file.read_text(encoding="utf-8"))
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise ValueError(f"{file} is no YAML ({str(error).splitlines()[0][:100]}).") from None
        names = held.get("names") if isinstance(held, dict) else None
        if isinstance(names, dict) and sorted(names) == list(range(len(names))):
            names = [names[number] for number in range(len(names))]
        if isinstance(names, list) and all(isinstance(name, (str, int)) for name in names):
            return tuple(map(str, names))
    return ()
