"""Pictures of coloured halves, and their masks: red is class 0, green 1, blue 2."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

NAMES = ("red", "green", "blue")
SIZE = (24, 32)  # height and width


def coded(array: np.ndarray, style: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, style)
    return buffer.getvalue()


def scene(seed: int, size: tuple[int, int] = SIZE) -> tuple[np.ndarray, np.ndarray]:
    """(picture uint8 (H, W, 3), mask uint8 (H, W)): two classes side by side, with noise."""
    chance = np.random.default_rng(seed)
    left, right = chance.permutation(3)[:2]
    mask = np.full(size, left, np.uint8)
    mask[:, chance.integers(8, size[1] - 8) :] = right
    picture = np.eye(3)[mask] * 160 + chance.integers(0, 60, (*size, 3))
    return picture.astype(np.uint8), mask


def write_parquet(
    path: Path,
    rows: Sequence[tuple[Any, Any]],
    metadata: dict[str, str] | None = None,
    mask: str = "mask",
) -> Path:
    """(picture, mask) as arrays, or as bytes; None for a cell that is missing."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    def cell(one: Any) -> Any:
        content = coded(one) if isinstance(one, np.ndarray) else one
        return None if content is None else {"bytes": content, "path": None}

    columns = {"image": [cell(picture) for picture, _ in rows], mask: [cell(target) for _, target in rows]}
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table({name: pa.array(cells, kind) for name, cells in columns.items()})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table.replace_schema_metadata(metadata), path)
    return path


def write_folders(root: Path, count: int = 3, images: str = "images", masks: str = "masks") -> Path:
    for number in range(count):
        picture, mask = scene(number)
        for folder, name, array in ((images, f"{number}.jpg", picture), (masks, f"{number}.png", mask)):
            (root / folder).mkdir(parents=True, exist_ok=True)
            (root / folder / name).write_bytes(coded(array, "JPEG" if name.endswith("jpg") else "PNG"))
    return root
