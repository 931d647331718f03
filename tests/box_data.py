"""Pictures with boxes of two classes, written in every layout that is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

NAMES = ("cat", "dog")
SIZE = (40, 60)  # height and width
BOXES = ([[2.0, 4.0, 30.0, 20.0], [10.0, 10.0, 60.0, 40.0]], [[0.0, 0.0, 15.0, 25.0]])
LABELS = ([0, 1], [1])


def picture(number: int) -> np.ndarray:
    """Black, with the boxes in red (class 0) and green (class 1)."""
    array = np.zeros((*SIZE, 3), np.uint8)
    for box, label in zip(BOXES[number], LABELS[number], strict=True):
        left, top, right, bottom = map(int, box)
        array[top:bottom, left:right] = np.eye(3)[label] * 200
    return array


def write_parquet(path: Path, columns: dict[str, Any], metadata: dict[str, str] | None = None) -> Path:
    import io

    import pyarrow as pa
    import pyarrow.parquet as pq

    cells = []
    for number in range(len(next(iter(columns.values())))):
        buffer = io.BytesIO()
        Image.fromarray(picture(number % 2)).save(buffer, "PNG")
        cells.append({"bytes": buffer.getvalue(), "path": None})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"image": cells, **columns}).replace_schema_metadata(metadata), path)
    return path


def pictures(folder: Path, suffix: str = ".png") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(2):
        Image.fromarray(picture(number)).save(folder / f"{number}{suffix}")
    return folder


def write_coco(root: Path, split: str = "train", folder: str = "train2017") -> Path:
    pictures(root / folder)
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    held = {
        "images": [{"id": 10 + number, "file_name": f"{number}.png"} for number in range(2)],
        "categories": [{"id": 3, "name": "cat"}, {"id": 7, "name": "dog"}],
        "annotations": [
            {"image_id": 10 + number, "category_id": (3, 7)[label], "bbox": [x, y, r - x, b - y]}
            for number in range(2)
            for (x, y, r, b), label in zip(BOXES[number], LABELS[number], strict=True)
        ]
        + [{"image_id": 10, "category_id": 3, "bbox": [0, 0, 60, 40], "iscrowd": 1}],
    }
    file = root / "annotations" / f"instances_{split}2017.json"
    file.write_text(json.dumps(held))
    return file


def write_yolo(root: Path, below: str = "train", names: str = "data.yaml") -> Path:
    pictures(root / "images" / below)
    (root / "labels" / below).mkdir(parents=True, exist_ok=True)
    height, width = SIZE
    for number in range(2):
        lines = [
            f"{label} {(x + r) / 2 / width:.6f} {(y + b) / 2 / height:.6f} {(r - x) / width:.6f} {(b - y) / height:.6f}"
            for (x, y, r, b), label in zip(BOXES[number], LABELS[number], strict=True)
        ]
        (root / "labels" / below / f"{number}.txt").write_text("\n".join(lines) + "\n")
    told = {"data.yaml": "path: .\nnames:\n  0: cat\n  1: dog\n", "classes.txt": "cat\ndog\n"}[names]
    (root / names).write_text(told)
    return root


def xml(number: int) -> str:
    """VOC counts pixels from 1, the last one included."""
    objects = "".join(
        f"<object><name>{NAMES[label]}</name><bndbox><xmin>{x + 1:g}</xmin><ymin>{y + 1:g}</ymin>"
        f"<xmax>{r:g}</xmax><ymax>{b:g}</ymax></bndbox></object>"
        for (x, y, r, b), label in zip(BOXES[number], LABELS[number], strict=True)
    )
    return f"<annotation><filename>other.jpg</filename>{objects}</annotation>"


def write_voc(root: Path) -> Path:
    pictures(root / "JPEGImages")
    (root / "Annotations").mkdir(parents=True)
    (root / "ImageSets" / "Main").mkdir(parents=True)
    for number in range(2):
        (root / "Annotations" / f"{number}.xml").write_text(xml(number))
    (root / "ImageSets" / "Main" / "train.txt").write_text("0\n")
    (root / "ImageSets" / "Main" / "val.txt").write_text("1\n")
    return root
