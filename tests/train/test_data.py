"""Folders, Parquet files and Hub data sets give the same pictures, and say clearly what is wrong with them."""

from __future__ import annotations

import hashlib
import runpy
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from training_data import CLASSES, SMALL, coded, parquet, reds
from zoo.data import folders as data_folders
from zoo.data.preprocess import Preprocess
from zoo.spec import ImageInput
from zoo.train import data as data_module
from zoo.train.data import hold_out, open_pictures, splits
from zoo.train.images import ImageSet, split_validation
from zoo.train.stream import ImageStream

LARGE = ImageInput(size=(80, 64))


ROOT = Path(__file__).resolve().parents[2]


def folders(root: Path, pictures: dict[str, bytes]) -> Path:
    for name, content in pictures.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def of_folders(data: ImageSet | ImageStream) -> list[str]:
    return [data.classes[label] for label in data.labels.tolist()]


# Folders


@pytest.mark.parametrize("inside", ["nothing", "other", "link to nothing"])
def test_a_class_without_pictures_is_refused(tmp_path: Path, inside: str) -> None:
    root = folders(tmp_path / "pets", {"cat/a.png": coded(10), "bird/a.png": coded(10)})
    (root / "dog").mkdir()
    if inside == "other":
        (root / "dog/IMG_1.HEIC").write_bytes(b"x")
    elif inside == "link to nothing":
        (root / "dog/1.png").symlink_to(tmp_path / "gone.png")
    held = {"nothing": "nothing", "other": r"no picture.*'IMG_1.HEIC'", "link to nothing": r"no picture.*'1.png'"}
    with pytest.raises(ValueError, match=f"dog holds {held[inside]}"):
        open_pictures(root, SMALL)


def test_files_that_are_no_pictures_are_counted(tmp_path: Path) -> None:
    contents = {"cat/a.png": coded(10), "cat/b.heic": b"x", "dog/deep/a.png": coded(10), "dog/deep/notes.txt": b""}
    root = folders(tmp_path / "pets", contents)
    (root / "dog/2.png").symlink_to(tmp_path / "gone.png")
    with pytest.warns(UserWarning, match=r"3 files in .* are left out; 'cat/b.heic' is one"):
        assert len(open_pictures(root, SMALL)) == 2


@pytest.mark.parametrize("names", [("data/train", "data/test"), ("one/train", "one/val", "two/train")])
def test_splits_one_folder_deeper_are_no_classes(tmp_path: Path, names: tuple[str, ...]) -> None:
    root = folders(tmp_path / "all", {f"{name}/{of}/1.png": coded(10) for name in names for of in ("a", "b")})
    with pytest.raises(ValueError, match=rf"has no splits, and .*{names[0].split('/')[0]} has \(.*train.*\): give "):
        open_pictures(root, SMALL)


def test_class_folders(tmp_path: Path) -> None:
    contents = {"dog/b.png": coded(20), "cat/deep/er/a.PNG": coded(10), ".git/x.png": coded(90)}
    root = folders(tmp_path / "pets", {**contents, "loose.png": coded(80), "hot_dog/c.jpg": coded(0, "JPEG")})
    assert splits(root) == ["train"]
    with pytest.warns(UserWarning, match=r"1 pictures in .* lie in no class folder .* 'loose.png' is one"):
        data = open_pictures(root, SMALL)
    assert isinstance(data, ImageSet)
    assert data.images.shape == (3, 8, 8, 3)
    assert reds(data)[:2] == [10, 20]
    assert (data.classes, data.labels.tolist(), data.skipped) == (("cat", "dog", "hot_dog"), [0, 1, 2], ())
    assert data.source == "pets"
    names = ("cat/deep/er/a.PNG", "dog/b.png", "hot_dog/c.jpg")
    content = b"".join(name.encode() + b"\0" + (root / name).read_bytes() for name in names)
    assert data.sha256 == hashlib.sha256(content).hexdigest()


def test_labels_follow_the_networks_classes(tmp_path: Path) -> None:
    root = folders(tmp_path, {"Hot-Dog/a.png": coded(10), "dog/a.png": coded(20)})
    data = open_pictures(str(root), SMALL, classes=CLASSES)
    assert (data.labels.tolist(), data.classes, reds(data)) == ([1, 2], CLASSES, [20, 10])
    with pytest.raises(
        ValueError, match=r"has the class 'dog', which is not known\. Did you mean 'dogs' or .*cats, dogs\."
    ):
        open_pictures(root, SMALL, classes=("hot dog", "cats", "dogs"))
    upper = open_pictures(folders(tmp_path / "case", {"A/a.png": coded(1), "a/a.png": coded(2)}), SMALL, classes="aA")
    assert upper.labels.tolist() == [1, 0], "what is spelt alike goes before what reads alike"


@pytest.mark.parametrize("other", ["validation", "val", "valid", "dev", "test"])
def test_folders_below_splits(tmp_path: Path, other: str) -> None:
    pictures = {"train/cat/a.png": 1, "train/dog/a.png": 2, "train/eel/a.png": 3, f"{other}/eel/b.png": 4}
    root = folders(tmp_path / "pets", {name: coded(10 * red) for name, red in pictures.items()})
    assert splits(root) == ["train", other]
    train = open_pictures(root, SMALL)
    held = open_pictures(root, SMALL, split="validation")
    assert (train.classes, train.labels.tolist(), reds(train)) == (("cat", "dog", "eel"), [0, 1, 2], [10, 20, 30])
    assert (held.classes, held.labels.tolist(), reds(held)) == (train.classes, [2], [40])
    assert (train.source, held.source) == ("pets/train", f"pets/{other}")
    assert train.sha256 != held.sha256
    assert splits(root / other) == [other]
    with pytest.raises(ValueError, match=f"has no split 'rest'; it has 'train', '{other}'"):
        open_pictures(root, SMALL, split="rest")
    folders(root, {f"{other}/eal/b.png": coded(0)})
    with pytest.raises(ValueError, match=r"class 'eal', which is not known\. Did you mean 'eel'"):
        open_pictures(root, SMALL, split=other)


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    root = folders(tmp_path, {"train/a.png": coded(1), "car/a.png": coded(2), "train_station/x/a.png": coded(3)})
    assert open_pictures(root, SMALL).classes == ("car", "train", "train_station")
    with pytest.raises(ValueError, match=r"train/ in .* need a folder for every class"):
        open_pictures(folders(tmp_path / "flat", {"train/a.png": coded(1)}), SMALL)


def test_many_bytes_are_not_read_for_a_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_folders, "DIGEST_BYTES", 10)
    content = coded(1)
    data = open_pictures(folders(tmp_path, {"cat/a.png": content}), SMALL)
    assert data.sha256 == hashlib.sha256(b"cat/a.png\0" + str(len(content)).encode()).hexdigest()


def test_no_copy_outlives_the_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    path = parquet(tmp_path / "a.parquet", [0, 1])
    data = open_pictures(path, SMALL, cache=False)
    assert len(list(scratch.iterdir())) == 1
    del data
    open_pictures(path, SMALL)
    assert not list(scratch.iterdir())


# Either


def damaged(tmp_path: Path, style: str) -> tuple[Path, list[str]]:
    """(data, the names of the pictures that cannot be read); the colours of the others are 10 and 40."""
    cells = [coded(10), b"no picture", coded(30)[:50], coded(40), b""]
    if style == "parquet":
        table = pa.table({"img": [{"bytes": cell, "path": None} for cell in cells], "label": [0, 1, 0, 1, 0]})
        pq.write_table(table, tmp_path / "train.parquet")
        return tmp_path, ["row 1", "row 2", "row 4"]
    names = ["a/0.png", "b/1.png", "b/2.png", "b/3.png", "b/4.png"]
    return folders(tmp_path, dict(zip(names, cells, strict=True))), ["b/1.png", "b/2.png", "b/4.png"]


@pytest.mark.parametrize("style", ["parquet", "folder"])
def test_damaged_pictures_are_named(tmp_path: Path, style: str) -> None:
    root, names = damaged(tmp_path, style)
    cached = open_pictures(root, SMALL, cache=True)
    assert (reds(cached), list(cached.skipped), len(cached)) == ([10, 40], names, 2)
    streamed = open_pictures(root, SMALL, cache=False, workers=0)
    assert isinstance(streamed, ImageStream)
    ((images, labels),) = streamed.stream([torch.arange(5)], 0)
    assert (images[:, 4, 4, 0].tolist(), list(streamed.skipped), len(streamed)) == ([10, 40], names, 5)
    assert torch.equal(labels, cached.labels)
    assert (streamed.sha256, streamed.classes, streamed.source) == (cached.sha256, cached.classes, cached.source)


def test_small_pictures_are_cached_and_large_ones_streamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = parquet(tmp_path / "train.parquet", [0, 1])
    parquet(tmp_path / "test.parquet", [0, 1])
    assert isinstance(open_pictures(path, SMALL), ImageSet)
    train, test = (open_pictures(tmp_path, LARGE, split=split, workers=0) for split in ("train", "test"))
    assert isinstance(train, ImageStream)
    assert isinstance(test, ImageStream)
    assert (train.cut_at_random, test.cut_at_random) == (True, False)
    ((images, _),) = test.stream([torch.tensor([1])], 0)
    assert np.array_equal(images[0].numpy(), Preprocess(LARGE).cut(Image.new("RGB", (10, 12), (10, 0, 7))))
    assert isinstance(open_pictures(path, LARGE, cache=True), ImageSet)
    monkeypatch.setattr(data_module, "CACHE_BYTES", 2 * 8 * 8 * 3 - 1)
    assert isinstance(open_pictures(path, SMALL), ImageStream)


@pytest.mark.multiprocess
@pytest.mark.parametrize("style", ["parquet", "folder"])
def test_processes_read_the_same(tmp_path: Path, style: str) -> None:
    root, names = damaged(tmp_path, style)
    order = [torch.tensor([4, 0]), torch.tensor([3, 2, 1])]
    alone, helped = (open_pictures(root, LARGE, workers=workers) for workers in (0, 2))
    for (x, y), (other, labels) in zip(alone.stream(order, 9), helped.stream(order, 9), strict=True):
        assert torch.equal(x, other)
        assert torch.equal(y, labels)
    assert list(helped.skipped) == list(alone.skipped) == names


@pytest.mark.parametrize("cache", [True, False])
def test_what_is_held_out_is_apart_and_the_same_again(tmp_path: Path, cache: bool) -> None:
    path = parquet(tmp_path / "train.parquet", [0] * 20)
    data = open_pictures(path, SMALL, cache=cache, workers=0)
    train, held = hold_out(data, 0.25, seed=3)
    assert type(train) is type(held) is type(data)
    assert (len(train), len(held)) == (15, 5)
    assert sorted(reds(train) + reds(held)) == list(range(0, 200, 10))
    assert reds(hold_out(data, 0.25, seed=3)[1]) == reds(held)
    assert reds(hold_out(data, 0.25, seed=4)[1]) != reds(held)
    assert (train.cut_at_random, held.cut_at_random) == (not cache, False)
    if isinstance(data, ImageSet):
        assert torch.equal(split_validation(data, 5, seed=3)[1].images, hold_out(data, 0.25, seed=3)[1].images)
    for share in (0.0, 0.01, 1.0, -1.0):
        with pytest.raises(ValueError, match="of 20 examples leaves nothing"):
            hold_out(data, share)


def test_a_grey_network_gets_grey_pictures(tmp_path: Path) -> None:
    grey = ImageInput(size=(8, 8), channels=1, mean=(0.5,), std=(0.5,))
    data = open_pictures(parquet(tmp_path / "a.parquet", [0]), grey)
    assert data.images.shape == (1, 8, 8, 1)
    with pytest.raises(ValueError, match="takes 2 channels; pictures have 1 or 3"):
        open_pictures(tmp_path, ImageInput(channels=2, mean=(0.5,) * 2, std=(0.5,) * 2))


def test_handwritten_digits(tmp_path: Path) -> None:
    runpy.run_path(str(ROOT / "scripts/make_digits.py"))["main"](tmp_path)
    grey = ImageInput(size=(8, 8), channels=1, mean=(0.5,), std=(0.5,))
    train, test = (open_pictures(tmp_path, grey, split=split) for split in splits(tmp_path))
    assert (len(train), len(test)) == (1437, 360)
    assert train.classes == test.classes == tuple("0123456789")
    digits = load_digits()
    there = {(*picture.flatten().tolist(), label) for picture, label in zip(digits.images, digits.target, strict=True)}
    back = torch.cat([train.images, test.images]).double() / 255 * 16
    assert torch.allclose(back, back.round(), atol=0.04)
    labels = torch.cat([train.labels, test.labels]).tolist()
    assert {(*picture.flatten().tolist(), label) for picture, label in zip(back.round(), labels, strict=True)} == there
    assert test.labels.bincount().min() >= 25
    again = tmp_path / "again"
    runpy.run_path(str(ROOT / "scripts/make_digits.py"))["main"](again)
    assert (again / "test.parquet").read_bytes() == (tmp_path / "test.parquet").read_bytes()
    loaded = datasets.Dataset.from_parquet(str(tmp_path / "test.parquet"), cache_dir=str(tmp_path / "cache"))
    assert loaded.features["label"].names == list("0123456789")
    assert loaded[0]["image"].size == (8, 8)
