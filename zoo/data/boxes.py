"""Read boxes beside pictures, from any layout, into one form: corners in pixels, and the number of each box's class.

Shapes: G boxes of one picture.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from zoo.data import coco, hub, voc, yolo
from zoo.data.classes import match
from zoo.data.mapped import mapped
from zoo.data.pairs import DamagedTarget, PairData, Pairs, Size, unread
from zoo.data.parquet import IMAGES, ParquetFiles, Rows, choose_column
from zoo.data.raw_boxes import Found, raw
from zoo.data.splits import called, ordered, parts_of, which
from zoo.files import local_path

BOXES = ("boxes", "bboxes")  # columns with lists of corners, beside one with lists of classes
CLASSES = ("labels", "label", "categories", "category", "classes")
OBJECTS = ("objects",)  # or one column with both, as the Hub has it: corner, width and height
BEYOND = 1.5  # pixels that a box may reach out of its picture, by rounding; it is cut there


@dataclass(frozen=True)
class ReadBoxes:
    """Reads boxes into {"boxes": float32 (G, 4), "labels": int64 (G,), "size": (height, width)}.

    `numbers[label]` is the network's number of a class of the data.
    """

    numbers: tuple[int, ...]

    def __call__(self, target: Mapping[str, Any], size: Size, name: str) -> dict[str, Any]:
        if error := target.get("error"):
            raise DamagedTarget(f"{name}: {error}.")
        boxes, labels = np.array(target["boxes"], np.float64), np.array(target["labels"], np.int64)
        if not len(boxes):
            raise DamagedTarget(f"{name} has no boxes.")
        height, width = size
        if target.get("relative"):
            boxes = boxes * [width, height, width, height]
        for box, label in zip(boxes, labels, strict=True):
            told = ", ".join(f"{value:g}" for value in box)
            if not 0 <= label < len(self.numbers):
                raise DamagedTarget(f"{name} has a box of class {label}; the classes are 0 to {len(self.numbers) - 1}.")
            if not np.isfinite(box).all() or not (box[:2] < box[2:]).all():
                raise DamagedTarget(f"{name} has a box of no size, ({told}): boxes are left, top, right, bottom.")
            if (box[:2] < -BEYOND).any() or (box[2:] > [width + BEYOND, height + BEYOND]).any():
                raise DamagedTarget(f"{name} has a box outside of its {width}x{height} pixels: ({told}).")
        cut = boxes.clip(0, [width, height, width, height])
        if not (cut[:, :2] < cut[:, 2:]).all():
            raise DamagedTarget(f"{name} has a box outside of its {width}x{height} pixels.")
        numbers = np.array(self.numbers, np.int64)[labels]
        return {"boxes": cut.astype(np.float32), "labels": numbers, "size": size}


def open_boxes(
    data: str | Path,
    *,
    split: str | tuple[str, ...] = "train",
    classes: Sequence[str] = (),
    class_names: Sequence[str] = (),
    ignore_index: int | None = None,
    image_column: str | None = None,
    target_column: str | None = None,
) -> Pairs:
    """Open the pictures of one split with their boxes.

    Args:
        data (str | Path): a Parquet file, a glob or a folder of them, or a data set of the Hub, with the columns
            `image`, `boxes` (left, top, right, bottom in pixels) and `labels`, or with `objects` as the Hub has it; a
            JSON file of COCO, or a folder with such files; a folder with images/ and labels/ of YOLO; or one of
            Pascal VOC, with JPEGImages/ and Annotations/.
        split (str | tuple[str, ...]): the split, or the first that there is of several. Default: "train".
        classes (Sequence[str]): the names that the numbers shall follow: the network's, or another split's. Where the
            data names no classes, they are taken by their numbers. Default: none, the data's own.
        class_names (Sequence[str]): the names of the data's classes, where the data has none. Default: none.
        ignore_index (int | None): for masks alone. Default: None.
        image_column (str | None): the column with the pictures. Default: None, "img" or "image".
        target_column (str | None): the column with the boxes. Default: None, "boxes", "bboxes" or "objects".

    Returns:
        Pairs: targets are {"boxes": float32 (G, 4), "labels": int64 (G,), "size": (height, width)}.

    Raises:
        ValueError: the data is not there or of another form, or a class is not known.

    Example:
        >>> cells = open_boxes("bccd")  # doctest: +SKIP
        >>> picture, target = cells.at(0)  # doctest: +SKIP
    """
    if ignore_index is not None:
        raise ValueError("ignore_index= is for masks; boxes have none.")
    parts = _parts(data)
    name = which(split, parts, data)
    part, where = parts[name], f"{data} ({name})"
    source = called(data, name, part)
    if callable(part):
        if image_column or target_column:
            raise ValueError(f"image_column and label_column are for tables; {data} is none.")
        found = part(where)
    elif isinstance(part, list):
        found = _of_parquet(part, image_column, target_column, where)
    else:
        found = _of_hub(part, image_column, target_column, where)
    if not len(found.names):
        raise ValueError(f"{where} holds no pictures.")
    own = found.classes
    if own and class_names and own != tuple(class_names):
        raise ValueError(f"class_names= is for data without names, and {where} names its classes: {', '.join(own)}.")
    own = own or tuple(class_names)
    named = bool(own)
    own = own or tuple(classes) or tuple(map(str, range(_count(found, where))))
    numbers = match(own, classes, where) if classes and own != tuple(classes) else range(len(own))
    pairs = Pairs(found.pictures, found.targets, found.names, unread, own, source, found.sha256, named)
    return replace(pairs, read=ReadBoxes(tuple(numbers)), classes=tuple(classes) or own)


def _parts(data: str | Path) -> dict[str, Any]:
    """Split -> a list of Parquet files, a data set, or a function that reads files of another form."""
    path = local_path(data)
    if path.is_file() and path.suffix.lower() == ".json":
        return coco.parts_of_file(path)
    if path.is_dir():
        for layout in (coco, yolo, voc):
            if found := layout.parts(path):
                return found  # type: ignore[no-any-return]
        if not any(path.rglob("*.parquet")):
            if found := coco.lone(path):
                return found  # type: ignore[no-any-return]
            raise ValueError(
                f"{path} holds no boxes: neither Parquet files, nor JSON of COCO, nor images/ with labels/ (YOLO) or "
                f"with Annotations/ (Pascal VOC). {coco.WANTED}"
            )
    return parts_of(data)


def _of_parquet(files: list[Path], image_column: str | None, target_column: str | None, where: str) -> Found:
    table = ParquetFiles(files, where)
    pictures, sha256 = mapped(table, table.column("image", image_column, IMAGES, "Image"))
    boxes = table.column("label", target_column, (*BOXES, *OBJECTS), "Objects")
    flat = boxes not in OBJECTS and "struct" not in table.type_of(boxes)
    names = [boxes, choose_column(table.columns, "label", None, CLASSES, [], where)] if flat else [boxes]
    targets = [
        _of_cells(*cells) if flat else _of_objects(cells[0])
        for batch in table.cells(names)
        for cells in zip(*(batch.column(name).to_pylist() for name in names), strict=True)
    ]
    own = _names_in(table.features.get(boxes, {})) or table.class_names(names[-1])
    return Found(pictures, targets, Rows(len(targets)), own, sha256)


def _of_hub(dataset: Any, image_column: str | None, target_column: str | None, where: str) -> Found:
    pictures = hub.pictures_of(dataset, "image", image_column, IMAGES, where)
    columns = list(dataset.features)
    boxes = choose_column(columns, "label", target_column, (*BOXES, *OBJECTS), [], where)
    flat = boxes not in OBJECTS
    names = [boxes, choose_column(columns, "label", None, CLASSES, [], where)] if flat else [boxes]
    held = dataset.select_columns(names).with_format("arrow")[:]
    cells = zip(*(held.column(name).to_pylist() for name in names), strict=True)
    targets = [_of_cells(*row) if flat else _of_objects(row[0]) for row in cells]
    own = _names_in(dataset.features.to_dict())
    return Found(pictures, targets, Rows(len(targets)), own, hub.digest(dataset))


def _of_cells(boxes: Any, labels: Any) -> dict[str, Any]:
    return raw(boxes or [], labels or [])


def _of_objects(cell: Any) -> dict[str, Any]:
    """Of a struct of lists, or a list of structs: "bbox" is the corner, width and height, as in COCO."""
    if isinstance(cell, list):
        cell = {key: [one.get(key) for one in cell] for key in (cell[0] if cell else {})}
    if not isinstance(cell, Mapping) or not cell:
        return raw([], [])
    labels = next((cell[name] for name in CLASSES if name in cell), None)
    boxes = cell.get("bbox", cell.get("boxes"))
    if labels is None or boxes is None:
        return {"error": f"its objects have {sorted(cell)}, not bbox and category"}
    return raw([coco.corners(box) for box in boxes], labels)


def _names_in(feature: Any, depth: int = 0) -> tuple[str, ...]:
    """The names of classes anywhere in the description of a column."""
    if isinstance(feature, Mapping) and depth < 6:
        names = feature.get("names")
        if isinstance(names, list) and names and all(isinstance(name, str) for name in names):
            return tuple(names)
        return next((found for one in feature.values() if (found := _names_in(one, depth + 1))), ())
    if isinstance(feature, list) and depth < 6:
        return next((found for one in feature[:100] if (found := _names_in(one, depth + 1))), ())
    return ()


def _count(found: Found, where: str) -> int:
    """How many classes boxes without names have."""
    most = max((label for target in found.targets for label in target.get("labels", ())), default=-1)
    damaged = [place for place, one in enumerate(found.targets) if "error" in one]
    if most < 0 and damaged:
        raise DamagedTarget(f"{where}, {found.names[damaged[0]]}: {found.targets[damaged[0]]['error']}.")
    if not 0 <= most < 10_000:
        told = f"class {most}, and up to 10,000 are read" if most >= 0 else "no boxes"
        raise ValueError(f"{where} has {told}. Name the classes with class_names.")
    return int(most) + 1


BOX_DATA = PairData(lambda data: ordered(_parts(data)), open_boxes)
