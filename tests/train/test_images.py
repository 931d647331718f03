"""Pictures in memory: read, split and normalised."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from zoo.train.images import ImageSet, normalize, read_parquet, split_validation


def numbered(count: int, size: int = 8) -> ImageSet:
    """Picture i is of the colour i everywhere, its label is i."""
    colour = torch.arange(count, dtype=torch.uint8)[:, None, None, None]
    return ImageSet(colour.expand(count, size, size, 3).clone(), torch.arange(count), "numbered", "")


def test_the_split_is_disjoint_complete_and_stable() -> None:
    data = numbered(50)
    train, held = split_validation(data, 10)
    assert (len(train), len(held)) == (40, 10)
    assert not set(train.labels.tolist()) & set(held.labels.tolist())
    assert torch.equal(torch.cat([train.labels, held.labels]).sort().values, data.labels)
    assert torch.equal(held.images[:, 0, 0, 0].long(), held.labels)
    assert torch.equal(split_validation(data, 10)[1].labels, held.labels)
    assert not torch.equal(split_validation(data, 10, seed=1)[1].labels, held.labels)


def test_normalize() -> None:
    images = torch.randint(0, 256, (2, 4, 5, 3), dtype=torch.uint8)
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.25, 2.0)
    x = normalize(images, mean, std)
    assert x.shape == (2, 3, 4, 5)
    assert x.dtype == torch.float32
    assert x.is_contiguous(memory_format=torch.channels_last)
    assert float(x[1, 2, 3, 4]) == pytest.approx((int(images[1, 3, 4, 2]) / 255 - 0.3) / 2.0, rel=1e-5)


def png(colour: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("L" if colour == 0 else "RGB", (4, 3), 0 if colour == 0 else (colour, 0, 7)).save(buffer, "PNG")
    return buffer.getvalue()


def write(path: Path, column: str, label: str = "label") -> Path:
    cells = [{"bytes": png(colour), "path": None} for colour in (0, 10, 20)]
    pq.write_table(pa.table({column: cells, label: [2, 0, 1]}), path)
    return path


@pytest.mark.parametrize("column", ["img", "image"])
def test_parquet_is_read(tmp_path: Path, column: str) -> None:
    path = write(tmp_path / "data.parquet", column)
    data = read_parquet(path)
    assert data.images.shape == (3, 3, 4, 3)
    assert data.images.dtype == torch.uint8
    assert data.images[:, 0, 0].tolist() == [[0, 0, 0], [10, 0, 7], [20, 0, 7]]
    assert data.labels.tolist() == [2, 0, 1]
    assert data.labels.dtype == torch.int64
    assert data.source == "data.parquet"
    assert data.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("column", "label", "missing"),
    [("picture", "label", "'img' or 'image'"), ("img", "class", "'label'")],
)
def test_parquet_without_pictures_or_labels_is_refused(tmp_path: Path, column: str, label: str, missing: str) -> None:
    with pytest.raises(ValueError, match=f"has no {missing}.*; it has "):
        read_parquet(write(tmp_path / "data.parquet", column, label))
