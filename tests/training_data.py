"""Small pictures in folders and Parquet files, to train on."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image

from zoo.spec import ImageInput
from zoo.train.images import ImageSet
from zoo.train.stream import ImageStream

SMALL = ImageInput(size=(8, 8), crop=1.0)
CLASSES = ("cat", "dog", "hot dog")


def coded(colour: int, style: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (10, 12), (colour, 0, 7)).save(buffer, style)
    return buffer.getvalue()


def parquet(path: Path, labels: Sequence[object], *, names: str = "", column: str = "image", **others: object) -> Path:
    """Picture i is of the colour 10 i."""
    cells = [{"bytes": coded(10 * row), "path": None} for row in range(len(labels))]
    table = pa.table({column: cells, "label": labels, **others})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table.replace_schema_metadata({"class_names": names} if names else None), path)
    return path


def reds(data: ImageSet | ImageStream) -> list[int]:
    ((images, labels),) = data.stream([torch.arange(len(data))], 0)
    assert len(images) == len(labels)
    return images[:, 4, 4, 0].tolist()
