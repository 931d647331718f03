"""Pictures in memory: read, split, normalised and augmented."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from torch import Tensor

from zoo.train.images import ImageSet, augment, batches, normalize, read_parquet, split_validation

HOLE_GREY = 121


def numbered(count: int, size: int = 8) -> ImageSet:
    """Picture i is of the colour i everywhere, its label is i."""
    colour = torch.arange(count, dtype=torch.uint8)[:, None, None, None]
    return ImageSet(colour.expand(count, size, size, 3).clone(), torch.arange(count), "numbered", "")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def gradients(batch: int, height: int, width: int) -> Tensor:
    """Every position has a colour of its own: (row, column, 0); none is the hole's grey."""
    rows = torch.arange(height, dtype=torch.uint8)[:, None].expand(height, width)
    columns = torch.arange(width, dtype=torch.uint8)[None, :].expand(height, width)
    one = torch.stack([rows, columns, torch.zeros_like(rows)], 2)
    return one.expand(batch, height, width, 3).clone()


def reflected(position: int, size: int) -> int:
    position = abs(position)
    return position if position < size else 2 * (size - 1) - position


def test_crops_are_cut_from_the_reflected_picture_and_some_are_mirrored() -> None:
    height, width, pad = 8, 10, 3
    images = gradients(64, height, width)
    out = augment(images, generator(), pad=pad, hole=0)
    assert out.shape == images.shape
    assert out.dtype == torch.uint8
    seen = set()
    for picture in out.tolist():
        rows = [line[0][0] for line in picture]
        columns = [cell[1] for cell in picture[0]]
        assert all(cell[:2] == [rows[y], columns[x]] for y, line in enumerate(picture) for x, cell in enumerate(line))
        down = [d for d in range(-pad, pad + 1) if rows == [reflected(y + d, height) for y in range(height)]]
        plain = [d for d in range(-pad, pad + 1) if columns == [reflected(x + d, width) for x in range(width)]]
        turned = [d for d in range(-pad, pad + 1) if columns[::-1] == [reflected(x + d, width) for x in range(width)]]
        assert len(down) == 1
        assert len(plain) + len(turned) == 1
        seen.add((down[0], (plain or turned)[0], bool(turned)))
    assert {offset for offset, _, _ in seen} == set(range(-pad, pad + 1))
    assert {offset for _, offset, _ in seen} == set(range(-pad, pad + 1))
    assert {turned for _, _, turned in seen} == {False, True}


def test_a_hole_is_one_grey_square_a_picture() -> None:
    images = torch.full((32, 16, 16, 3), 200, dtype=torch.uint8)
    out = augment(images, generator(), hole=6)
    for picture in out:
        covered = (picture == HOLE_GREY).all(2)
        assert torch.equal(covered, (picture != 200).any(2))
        rows, columns = covered.any(1), covered.any(0)
        assert torch.equal(covered, rows[:, None] & columns[None, :])
        for line in (rows, columns):
            inside = line.nonzero().flatten()
            assert 3 <= len(inside) <= 6, "a hole is whole, but for what lies outside the picture"
            assert int(inside[-1] - inside[0]) + 1 == len(inside)


def test_augmenting_is_repeatable_and_leaves_the_pictures_alone() -> None:
    images = gradients(16, 8, 8)
    kept = images.clone()
    first, second, other = (augment(images, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert torch.equal(images, kept)


def test_an_epoch_shows_every_picture_once() -> None:
    data = numbered(20)
    shown = [labels for _, labels in batches(data, 5, generator(), hole=0)]
    assert [len(labels) for labels in shown] == [5] * 4
    assert torch.equal(torch.cat(shown).sort().values, data.labels)
    for images, labels in batches(data, 6, generator(3), hole=0):
        assert len(images) == 6
        assert torch.equal(images[:, 0, 0, 0].long(), labels), "pictures and labels parted"
    assert len(list(batches(data, 6, generator(3)))) == 3


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


@pytest.mark.parametrize(("column", "label"), [("picture", "label"), ("img", "class")])
def test_parquet_without_pictures_or_labels_is_refused(tmp_path: Path, column: str, label: str) -> None:
    with pytest.raises(ValueError, match=r"needs the columns 'img' or 'image', and 'label'; it has \["):
        read_parquet(write(tmp_path / "data.parquet", column, label))
