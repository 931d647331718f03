"""Every reader of pictures takes data as people have it: training, `zoo.evaluate`, and calibration from folders."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import zoo
from picture_data import network, png, tree
from zoo.data.classes import ClassError, in_order, match, synsets
from zoo.data.labelled_data import open_labelled_data
from zoo.data.splits import splits
from zoo.data.unlabelled import pictures_in
from zoo.train.data import open_pictures

NFC, NFD = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))


def evaluated(root: Path, labels: tuple[str, ...]) -> list[str]:
    return list(open_labelled_data(root, network(*labels)).names)


def trained(root: Path, labels: tuple[str, ...]) -> list[str]:
    stream = open_pictures(root, network(*labels).spec.pictures, classes=labels, cache=False)
    return list(stream.names)


def calibrated(root: Path, labels: tuple[str, ...]) -> list[str]:
    return [file.relative_to(root).as_posix() for file in pictures_in([root])]


READERS = pytest.mark.parametrize("read", [evaluated, trained, calibrated])
Reader = Callable[[Path, tuple[str, ...]], list[str]]


@READERS
@pytest.mark.parametrize(
    "hidden",
    [
        ".ipynb_checkpoints/cat/0.png",
        "cat/.ipynb_checkpoints/0-checkpoint.png",
        "__MACOSX/cat/._0.png",
        "cat/__MACOSX/0.png",
        "cat/._0.png",
        "cat/.hidden/deep/0.png",
        "cat/@eaDir/0.png",
        "cat/Thumbs.db",
        "cat/.DS_Store",
        "$RECYCLE.BIN/0.png",
    ],
)
def test_what_systems_leave_is_no_data(tmp_path: Path, read: Reader, hidden: str) -> None:
    root = tree(tmp_path, "cat/0.png", "cat/deep/1.JPG", "dog/0.png", hidden)
    assert sorted(read(root, ("cat", "dog"))) == ["cat/0.png", "cat/deep/1.JPG", "dog/0.png"]


@READERS
def test_links_are_followed_and_lead_nowhere_twice(tmp_path: Path, read: Reader) -> None:
    tree(tmp_path / "elsewhere", "1.png")
    root = tree(tmp_path / "pets", "cat/0.png", "dog/0.png")
    (root / "cat" / "more").symlink_to(tmp_path / "elsewhere")
    (root / "cat" / "round").symlink_to(root / "cat")
    assert sorted(read(root, ("cat", "dog"))) == ["cat/0.png", "cat/more/1.png", "dog/0.png"]


@READERS
def test_a_folder_that_cannot_be_read_is_an_error(
    tmp_path: Path, read: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, real = tree(tmp_path, "cat/0.png", "cat/deep/1.png", "dog/0.png"), os.scandir

    def scandir(path: str) -> object:  # root may read every folder, so no permission tells it apart
        if str(path).endswith("deep"):
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(ValueError, match="deep cannot be read: Permission denied"):
        read(root, ("cat", "dog"))


@pytest.mark.parametrize(
    ("names", "known", "numbers"),
    [
        (("Cat", "cat"), ("cat", "Cat"), [1, 0]),
        (("big-dog", "big_dog"), ("big_dog", "big-dog"), [1, 0]),
        (("Hot_Dog", "CAT"), ("cat", "hot dog"), [1, 0]),
        ((NFC,), ("x", NFD), [1]),
        ((NFD,), ("x", NFC), [1]),
    ],
)
def test_names_are_matched_as_they_are_then_where_one_is_left(
    names: tuple[str, ...], known: tuple[str, ...], numbers: list[int]
) -> None:
    assert match(names, known, "data") == numbers


@pytest.mark.parametrize(
    ("names", "known", "message"),
    [
        (("CAT",), ("cat", "Cat"), r"several classes are called so: 0 \('cat'\), 1 \('Cat'\)"),
        (("crane",), ("crane", "crane"), "several classes"),
        (("Cat", "cat"), ("cat", "dog"), "'Cat' and 'cat', and both would be 'cat'"),
        (("cow",), ("cat", "cows"), "which is not known. Did you mean 'cows'"),
    ],
)
def test_names_that_fall_together_are_refused(names: tuple[str, ...], known: tuple[str, ...], message: str) -> None:
    with pytest.raises(ClassError, match=message):
        match(names, known, "data")


@pytest.mark.parametrize("form", [NFC, NFD])
def test_an_accent_in_two_forms_is_one_class(tmp_path: Path, form: str) -> None:
    root = tree(tmp_path, f"train/{NFC}/0.png", f"train/{NFD}/1.png", "train/tea/0.png", f"val/{NFD}/0.png")
    data = open_pictures(root, network("a").spec.pictures)
    assert (data.classes, data.labels.tolist()) == ((NFC, "tea"), [0, 0, 1])
    found = open_labelled_data(root, network("tea", form), split="train")
    assert sorted(found.labels) == [0, 1, 1]


def test_numbered_folders_are_counted_as_timm_counts() -> None:
    timm = pytest.importorskip("timm.data.readers.reader_image_folder")
    names = ["0", "10", "2", "B 3", "b 20", "a"]
    with pytest.warns(UserWarning, match="natural order"):
        found = in_order(names, 6, "data")
    assert [name for _, name in sorted(zip(found, names, strict=True))] == sorted(names, key=timm.natural_key)
    assert in_order(["0", "1", "2"], 3, "data") == [0, 1, 2]
    with pytest.raises(ClassError, match="no names for its 4 classes"):
        in_order(["0", "1"], 4, "data")


def test_the_ids_of_imagenet_are_names_of_its_classes() -> None:
    labels = ("tench", "goldfish", *(f"other {i}" for i in range(998)))
    assert match(["n01443537", "n01440764"], labels, "data") == [1, 0]
    assert in_order(["n01443537"], 1000, "data") == [1]
    assert len(synsets()) == 1000 and list(synsets()) == sorted(synsets())
    with pytest.raises(ClassError, match="'n99999999' beside them, which is neither"):
        match(["n01443537", "n99999999"], labels, "data")
    with pytest.raises(ClassError, match="not known"):
        match(["n01443537"], ("cat", "dog"), "data")


# Splits


@pytest.mark.parametrize("style", ["folders", "parquet"])
def test_evaluate_takes_splits_below_one_folder(tmp_path: Path, style: str) -> None:
    model = network("cat", "dog")
    for count, split in enumerate(("train", "val", "test"), 1):
        if style == "folders":
            tree(tmp_path, *(f"{split}/{name}/{i}.png" for name in ("cat", "dog") for i in range(count)))
        else:
            cells = [{"bytes": png(), "path": None}] * 2 * count
            pq.write_table(pa.table({"image": cells, "label": [0, 1] * count}), tmp_path / f"{split}.parquet")
    assert set(splits(tmp_path)) == {"train", "val", "test"}
    assert zoo.evaluate(model, tmp_path).examples == 6
    for split, examples in (("train", 2), ("validation", 4), ("val", 4)):
        assert zoo.evaluate(model, tmp_path, split=split).examples == examples
    assert zoo.evaluate(model, tmp_path).source == f"{tmp_path.name}/test"
    with pytest.raises(ValueError, match="has no split 'dev'; it has 'train'"):
        zoo.evaluate(model, tmp_path, split="dev")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (("train/a/0.png", "training/a/0.png"), "train/ and training/ .* are both the split 'train'; join them"),
        (("train/a/0.png", "test/a/0.png", "extra/a/0.png"), "other folders with pictures beside them: extra"),
        (("train/a/0.png", "cat/0.png"), "other folders with pictures beside them: cat"),
    ],
)
def test_no_split_is_left_out_unsaid(tmp_path: Path, files: tuple[str, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        splits(tree(tmp_path, *files))


def test_the_names_in_a_table_count(tmp_path: Path) -> None:
    """A table that numbers its classes otherwise than the network is matched by their names."""
    cells = [{"bytes": png(), "path": None}] * 3
    table = pa.table({"image": cells, "label": [0, 0, 1]}).replace_schema_metadata({"class_names": "dog,cat"})
    pq.write_table(table, tmp_path / "a.parquet")
    assert open_labelled_data(tmp_path / "a.parquet", network("cat", "Dog")).labels == [1, 1, 0]
    with pytest.warns(UserWarning, match="taken by their numbers"):
        assert open_labelled_data(tmp_path / "a.parquet", network("Katze", "Hund")).labels == [0, 0, 1]
    with pytest.raises(ClassError, match="not known"):
        open_labelled_data(tmp_path / "a.parquet", network("Katze", "Hund", "Kuh"))


@pytest.mark.parametrize("kind", ["folder", "parquet"])
def test_home_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    tree(tmp_path / "pets", "cat/0.png", "dog/0.png")
    pq.write_table(pa.table({"image": [png()] * 2, "label": [0, 1]}), tmp_path / "a.parquet")
    name = "~/pets" if kind == "folder" else "~/a.parquet"
    assert zoo.evaluate(network("cat", "dog"), name).examples == 2
    assert len(open_pictures(name, network("a").spec.pictures)) == 2
    assert zoo.preprocess(network("a"))("~/pets/cat/0.png").shape == (1, 3, 8, 8)


def test_arrays_are_what_they_were() -> None:
    images = np.zeros((4, 8, 8, 3), np.uint8)
    assert zoo.evaluate(network("cat", "dog"), (images, np.array([0, 1, 0, 1]))).examples == 4
