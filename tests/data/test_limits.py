"""What would take too much memory is refused before it does, and only the formats that the docs name are opened."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

import zoo
from picture_data import network, png
from zoo.data import parquet, pictures
from zoo.data.parquet import ParquetFiles
from zoo.data.preprocess import ImageError, open_picture
from zoo.train.data import open_pictures

NETWORK = network("cat", "dog")


def encoded(size: tuple[int, int], style: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, (200, 0, 0)).save(buffer, style, **options)
    return buffer.getvalue()


@pytest.fixture
def little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """8 bytes a pixel: 100x100 pixels."""
    monkeypatch.setattr(pictures, "MAX_BYTES", 80_000)


@pytest.mark.parametrize(
    ("content", "fits"),
    [
        (encoded((100, 100), "PNG"), True),
        (encoded((101, 100), "PNG"), False),
        (encoded((101, 100), "GIF"), False),
        (encoded((70, 70), "WEBP"), True),
        (encoded((80, 80), "WEBP"), False),
        (encoded((1000, 30), "TIFF", compression="tiff_lzw"), False),
        (encoded((101, 100), "JPEG"), True),
        (encoded((790, 790), "JPEG"), True),
        (encoded((810, 810), "JPEG"), False),
        (encoded((100, 100), "JPEG", progressive=True), True),
        (encoded((300, 100), "JPEG", progressive=True), False),
    ],
)
@pytest.mark.usefixtures("little_memory")
def test_the_size_in_the_header_is_looked_at_before_decoding(
    content: bytes, fits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if fits:
        opened = open_picture(content, "RGB")
        assert opened.width * opened.height * 8 <= 80_000 and opened.getpixel((3, 3))[0] > 190
        return
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("it was decoded"))
    with pytest.raises(ImageError, match="too large: decoding it would take"):
        open_picture(content, "RGB")


@pytest.mark.usefixtures("little_memory")
def test_a_file_or_a_pipe_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "long.png").write_bytes(png() + bytes(90_000))
    with pytest.raises(ImageError, match=r"has 90,\d+ bytes"):
        open_picture(tmp_path / "long.png", "RGB")
    with pytest.raises(ImageError, match="has 80,001 bytes"):
        open_picture("/dev/zero", "RGB")


def test_a_pipe_is_a_picture(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    threading.Thread(target=lambda: (tmp_path / "pipe").write_bytes(png(7))).start()
    assert open_picture(tmp_path / "pipe", "RGB").getpixel((0, 0)) == (7, 0, 0)


POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 32 32\n%%EndComments\nshowpage\n%%EOF\n"


@pytest.mark.parametrize(
    "content", [POSTSCRIPT, encoded((8, 8), "ICO"), encoded((8, 8), "PCX"), encoded((8, 8), "TGA"), b"", b"<svg/>"]
)
def test_other_formats_are_not_opened(content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("subprocess.check_call", lambda *_, **__: pytest.fail("another program was started"))
    (tmp_path / "cat.jpg").write_bytes(content)
    for given in (content, tmp_path / "cat.jpg"):
        with pytest.raises(ImageError, match="not a picture of a format that is read here: JPEG, PNG"):
            open_picture(given, "RGB")
    if content is POSTSCRIPT:
        with pytest.raises(ImageError, match="EPS, which is not opened"):
            open_picture(Image.open(io.BytesIO(content)), "RGB")


@pytest.mark.parametrize("style", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "MPO"])
def test_the_named_formats_are_opened(style: str) -> None:
    assert open_picture(encoded((9, 8), style), "RGB").size == (9, 8)


def test_grey_is_scaled_right_or_refused() -> None:
    grey = np.random.default_rng(0).integers(0, 256, (8, 8), dtype=np.uint8)
    for wide in (grey.astype(np.uint16) * 257, (grey.astype(">u2") * 257).astype(">u2")):
        assert np.array_equal(np.asarray(open_picture(Image.fromarray(wide), "L")), grey)
    for values, name in ((grey.astype(np.int32), "32-bit whole numbers"), ((grey / 255).astype(np.float32), "floats")):
        with pytest.raises(ImageError, match=f"holds {name} .* which value is white"):
            open_picture(Image.fromarray(values), "L")
        buffer = io.BytesIO()
        Image.fromarray(values).save(buffer, "TIFF")
        with pytest.raises(ImageError, match=f"holds {name}"):
            open_picture(buffer.getvalue(), "RGB")
    with pytest.raises(ImageError, match="mode LAB, which has no RGB"):
        open_picture(Image.new("LAB", (8, 8)), "RGB")


@pytest.mark.parametrize("address", ["https://example.com/cat.jpg", "hf://owner/cat.jpg"])
def test_an_address_is_told_whole(address: str) -> None:
    with pytest.raises(ImageError, match=f"{address} is an address"):
        open_picture(address, "RGB")


# Parquet

READERS = pytest.mark.parametrize(
    "read",
    [
        lambda path: zoo.evaluate(NETWORK, path),
        lambda path: open_pictures(path, NETWORK.spec.pictures),
        lambda path: open_pictures(path, NETWORK.spec.pictures, cache=False),
    ],
    ids=["evaluate", "cached", "streamed"],
)
Reader = Callable[[Path], object]


@READERS
@pytest.mark.parametrize("dictionary", [True, False])
def test_parquet_that_grows_is_refused(
    tmp_path: Path, read: Reader, dictionary: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "ROOM", 1_000_000)
    cells = [{"bytes": png() + bytes(100_000), "path": None}] * 100
    path = tmp_path / "bomb.parquet"
    pq.write_table(
        pa.table({"image": cells, "label": [0, 1] * 50}), path, compression="zstd", use_dictionary=dictionary
    )
    assert path.stat().st_size < 20_000
    with pytest.raises(ValueError, match=r"grows to (more than 20 times|\d\d,\d+,\d+)"):
        read(path)


@READERS
def test_ordinary_parquet_is_read_a_few_rows_at_a_time(
    tmp_path: Path, read: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "ROOM", 50_000)
    noise = np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), dtype=np.uint8)
    buffers = [io.BytesIO() for _ in noise]
    for picture, buffer in zip(noise, buffers, strict=True):
        Image.fromarray(picture).save(buffer, "PNG")
    cells = [{"bytes": buffer.getvalue(), "path": None} for buffer in buffers]
    pq.write_table(pa.table({"image": cells, "label": [0, 1] * 20}), tmp_path / "a.parquet", row_group_size=20)
    table = ParquetFiles([tmp_path / "a.parquet"], "a")
    assert max(batch.nbytes for batch in table.cells(["image"])) < 50_000
    found = read(tmp_path / "a.parquet")
    assert getattr(found, "examples", None) == 40 or len(found) == 40  # type: ignore[arg-type]


def test_rows_and_labels_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "MAX_ROWS", 3)
    pq.write_table(pa.table({"image": [png()] * 4, "label": [0] * 4}), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match="has 4 rows; at most 3"):
        zoo.evaluate(NETWORK, tmp_path / "a.parquet")


@pytest.mark.parametrize("cached", [True, False])
def test_rows_without_a_picture_are_named(tmp_path: Path, cached: bool) -> None:
    cells = [{"bytes": png(), "path": None}, None, {"bytes": POSTSCRIPT, "path": None}, {"bytes": b"", "path": "gone"}]
    pq.write_table(pa.table({"image": cells, "label": [0, 1, 0, 1]}), tmp_path / "a.parquet")
    assert zoo.evaluate(NETWORK, tmp_path / "a.parquet").skipped == ("row 1", "row 2", "row 3")
    found = open_pictures(tmp_path / "a.parquet", NETWORK.spec.pictures, cache=cached, workers=0)
    ((images, _),) = found.stream([torch.arange(len(found))], 0)
    assert (len(images), tuple(found.skipped)) == (1, ("row 1", "row 2", "row 3"))
