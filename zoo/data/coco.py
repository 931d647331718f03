"""Read boxes from JSON files of COCO (Lin et al., 2014): images, annotations, categories."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from zoo.data.raw_boxes import Found, by_path, digest, raw
from zoo.data.splits import split_of

MOST_BYTES = 1_000_000_000
WANTED = (
    "Names that JSON of COCO has: instances_train2017.json, train.json or train/_annotations.coco.json; a folder's "
    "only file may have any name."
)
_NAME = re.compile(r"(?:instances_|_annotations\.|annotations_)?(.*?)(?:_annotations)?(?:\.coco)?")


def parts_of_file(file: Path) -> dict[str, Any]:
    """Split -> what reads it: one file is one split."""
    return {_split(file) or "train": partial(_read, file)}


def parts(path: Path) -> dict[str, Any]:
    """Split -> what reads it, of a folder with such files in it, in annotations/ or in split folders; else empty."""
    files = [file for folder in (path, path / "annotations") for file in sorted(folder.glob("*.json"))]
    for folder in sorted(path.iterdir()):
        if folder.is_dir() and split_of(folder.name):
            files += sorted(folder.glob("*.json"))
    found: dict[str, Any] = {}
    for file in files:
        if not (split := _split(file) or (split_of(file.parent.name) if file.parent != path else None)):
            continue
        if split in found:
            raise ValueError(f"{path} has two JSON files of the split {split!r}: {file.name} is one. Name one of them.")
        found[split] = partial(_read, file)
    return found


def lone(path: Path) -> dict[str, Any]:
    """What `parts` gives where the folder's only JSON file has no split in its name: it is for training.

    Empty where there is no JSON. Raises ValueError where there are several files: nothing says which is which.
    """
    files = [file for folder in (path, path / "annotations") for file in sorted(folder.glob("*.json"))]
    if len(files) > 1:
        told = ", ".join(file.relative_to(path).as_posix() for file in files[:5])
        raise ValueError(f"{path} has JSON files without the name of a split: {told}. {WANTED}")
    return {"train": partial(_read, files[0])} if files else {}


def corners(box: Any) -> Any:
    """Left, top, right, bottom of left, top, width, height; what is no box as it is."""
    if not isinstance(box, (list, tuple)) or len(box) != 4 or not all(isinstance(one, (int, float)) for one in box):
        return box
    return [box[0], box[1], box[0] + box[2], box[1] + box[3]]


def _split(file: Path) -> str | None:
    """The split in a name such as instances_val2017.json, train.json or _annotations.coco.json (none)."""
    found = _NAME.fullmatch(file.stem)
    return split_of(found[1]) if found else None


def _read(file: Path, where: str) -> Found:
    held = _json(file)
    categories = {one["id"]: str(one.get("name", one["id"])) for one in _rows(held, "categories", file, ("id",))}
    place = {number: index for index, number in enumerate(categories)}
    if not categories:
        raise ValueError(f"{file} has no categories.")
    images = _rows(held, "images", file, ("id", "file_name"))
    boxes: dict[Any, list[tuple[Any, Any]]] = {one["id"]: [] for one in images}
    for one in _rows(held, "annotations", file, ("image_id",)):
        if not one.get("iscrowd"):  # a region of many objects, which no box is of
            boxes.setdefault(one["image_id"], []).append((one.get("bbox"), one.get("category_id")))
    twice = {number for number, count in Counter(one["id"] for one in images).items() if count > 1}
    names = [str(one["file_name"]) for one in images]
    found = [by_path(_picture(file, name)) for name in names]
    targets = [
        {"error": f"its id {one['id']!r} is that of another picture too"}
        if one["id"] in twice
        else _target(boxes[one["id"]], place)
        for one in images
    ]
    for lacking in list(boxes)[len({one["id"] for one in images}) :]:  # behind the pictures that there are
        names.append(f"image {str(lacking)[:60]!r}")
        found.append({"image": None})
        targets.append({"error": f"{file.name} has boxes of it, and no such picture"})
    return Found(found, targets, names, tuple(categories.values()), digest([file], file.parent))


def _target(boxes: list[tuple[Any, Any]], place: Mapping[Any, int]) -> dict[str, Any]:
    for _, category in boxes:
        if not isinstance(category, (int, str)) or category not in place:
            return {"error": f"it has a box of the category {str(category)[:60]!r}, which the file lacks"}
    return raw([corners(box) for box, _ in boxes], [place[category] for _, category in boxes])


def _json(file: Path) -> Mapping[str, Any]:
    if (size := file.stat().st_size) > MOST_BYTES:
        raise ValueError(f"{file} has {size:,} bytes; JSON of up to {MOST_BYTES:,} is read. Split it, or use Parquet.")
    try:
        held = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file} is no JSON ({type(error).__name__}: {str(error)[:100]}).") from None
    if not isinstance(held, Mapping):
        raise ValueError(f"{file} is no file of COCO: it holds {type(held).__name__}, not an object.")
    return held


def _rows(held: Mapping[str, Any], key: str, file: Path, needed: tuple[str, ...]) -> list[dict[str, Any]]:
    """The objects in a list of the file; each has what is needed, and an id that counts."""
    found = held.get(key)
    if not isinstance(found, list):
        raise ValueError(f"{file} is no file of COCO: it has no list {key!r}.")
    for place, one in enumerate(found):
        missing = [name for name in needed if not isinstance(one, dict) or name not in one]
        bad = [name for name in needed if name.endswith("id") and not missing and not isinstance(one[name], (int, str))]
        if missing or bad:
            raise ValueError(f"{file}: number {place} of {key!r} has no proper {(missing or bad)[0]!r}.")
    return found


def _picture(file: Path, name: str) -> Path:
    """The picture below the folder of the file, or of that above annotations/: in images/, or in the split's folder."""
    root = file.parent.parent if file.parent.name == "annotations" else file.parent
    inside = os.path.realpath(root)
    split = _split(file) or ""
    folders = [root, root / "images", *(one for one in _folders(root) if split and split_of(one.name) == split)]
    for folder in folders:
        path = os.path.realpath(folder / name) if "\0" not in name else ""
        if os.path.commonpath([inside, path or os.sep]) != inside:
            raise ValueError(f"{file} names the picture {name[:200]!r}, which is not below {root}: it is not opened.")
        if os.path.isfile(path):
            return Path(path)
    return root / name


def _folders(root: Path) -> list[Path]:
    inner = root / "images"
    return [one for base in (root, inner) if base.is_dir() for one in sorted(base.iterdir()) if one.is_dir()]
