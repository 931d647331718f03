"""A table opens no file but pictures below its own folder, and its digest covers what was read."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import zoo
from picture_data import network, png, tree
from zoo.data import picture_paths
from zoo.train.data import open_pictures
from zoo.train.images import read_parquet

NETWORK = network("cat", "dog")
READERS = pytest.mark.parametrize(
    "read",
    [
        lambda path: zoo.evaluate(NETWORK, path),
        lambda path: open_pictures(path, NETWORK.spec.pictures),
        lambda path: open_pictures(path, NETWORK.spec.pictures, cache=False),
        read_parquet,
    ],
    ids=["evaluate", "cached", "streamed", "in memory"],
)
Reader = Callable[[Path], Any]


def table(root: Path, *names: str | None, style: str = "struct") -> Path:
    """A Parquet file in `root` whose rows name pictures, or hold one where the name is None."""
    cells = [{"bytes": None if name else png(9), "path": name} for name in names]
    images = pa.array([name or png() for name in names]) if style == "string" else pa.array(cells)
    root.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"image": images, "label": [i % 2 for i in range(len(names))]}), root / "a.parquet")
    return root / "a.parquet"


@READERS
@pytest.mark.parametrize("style", ["struct", "string"])
def test_the_digest_covers_the_pictures_that_were_read(tmp_path: Path, read: Reader, style: str) -> None:
    root = tree(tmp_path / "data", "deep/0.png", "1.png", content=png(1))
    path = table(root, "deep/0.png", "1.png", style=style)
    before = read(path)
    assert len(before.sha256) == 64 and read(path).sha256 == before.sha256
    tree(root, "1.png", content=png(200))
    assert read(path).sha256 != before.sha256
    tree(root, "1.png", content=png(1))
    assert read(path).sha256 == before.sha256


def test_every_reader_gives_the_same_digest(tmp_path: Path) -> None:
    root = tree(tmp_path, "0.png", "1.png")
    path = table(root, "0.png", None, "1.png", str(root / "1.png"))
    told = {read(path).sha256 for read in READERS.mark.args[1]}
    assert len(told) == 1 and zoo.evaluate(NETWORK, path, batch_size=2).sha256 in told


@READERS
@pytest.mark.parametrize(
    "name",
    [
        "../out.png",
        "{out}/out.png",
        "/dev/zero",
        "/dev/stdin",
        "link.png",
        "deep/../../out.png",
        "to/out.png",
        "a\0.png",
    ],
)
def test_a_path_out_of_the_folder_is_refused_by_its_name(tmp_path: Path, read: Reader, name: str) -> None:
    root = tree(tmp_path / "data", "0.png")
    tree(tmp_path, "out.png")
    (root / "link.png").symlink_to(tmp_path / "out.png")
    (root / "to").symlink_to(tmp_path)
    name = name.format(out=tmp_path)
    with pytest.raises(ValueError, match=rf"a\.parquet names the picture {re.escape(repr(name))}, which is not below "):
        read(table(root, "0.png", name))


@READERS
def test_an_address_is_refused_by_its_name(tmp_path: Path, read: Reader) -> None:
    with pytest.raises(ValueError, match=r"names the picture 'https://x\.org/a\.png', an address"):
        read(table(tmp_path, "https://x.org/a.png"))


@pytest.mark.parametrize("cache", [True, False])
def test_only_regular_files_of_a_size_are_opened(tmp_path: Path, cache: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picture_paths, "MAX_BYTES", 1000)
    root = tree(tmp_path, "0.png", "folder/1.png")
    os.mkfifo(root / "pipe.png")
    tree(root, "long.png", content=png() + bytes(1000))
    path = table(root, "0.png", "pipe.png", "folder", "long.png", "gone.png", "x" * 300)
    assert zoo.evaluate(NETWORK, path).skipped == tuple(f"row {row}" for row in range(1, 6))
    found = open_pictures(path, NETWORK.spec.pictures, cache=cache, workers=0)
    ((images, _),) = found.stream([torch.arange(len(found))], 0)
    assert (len(images), len(found.skipped)) == (1, 5)


@pytest.mark.parametrize("name", ["/etc/hostname", "relative.png"])
def test_a_data_set_of_the_hub_names_files_of_its_cache_alone(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    tree(tmp_path, "0.png")
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])})

    def of(*paths: str) -> None:
        rows = {"image": [{"bytes": None, "path": path} for path in paths], "label": [0] * len(paths)}
        parts = datasets.DatasetDict({"train": datasets.Dataset.from_dict(rows, features)})
        monkeypatch.setattr(datasets, "load_dataset", lambda *_: parts)

    of(str(tmp_path / "0.png"))
    assert zoo.evaluate(NETWORK, "someone/inside").examples == 1
    of(str(tmp_path / "0.png"), name)
    for read in (lambda data: zoo.evaluate(NETWORK, data), lambda data: open_pictures(data, NETWORK.spec.pictures)):
        with pytest.raises(ValueError, match=rf"names the picture '{name}', a file that is not from the data set"):
            read("someone/outside")
