"""Parquet files and Hub data sets as training data, and what is said where there is none."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from training_data import CLASSES, SMALL, coded, parquet, reds
from zoo.train.data import open_pictures, splits

# Parquet


@pytest.mark.parametrize("column", ["img", "image"])
def test_a_parquet_file(tmp_path: Path, column: str) -> None:
    path = parquet(tmp_path / "some.parquet", [2, 0, 1], names="cat,dog,hot dog", column=column)
    assert splits(path) == ["train"]
    data = open_pictures(path, SMALL)
    assert (data.labels.tolist(), data.classes, reds(data)) == ([2, 0, 1], CLASSES, [0, 10, 20])
    assert (data.source, data.sha256) == ("some.parquet", hashlib.sha256(path.read_bytes()).hexdigest())


def test_parquet_with_the_features_of_datasets(tmp_path: Path) -> None:
    features = datasets.Features({"photo": datasets.Image(), "kind": datasets.ClassLabel(names=list(CLASSES))})
    rows = {"photo": [{"bytes": coded(30), "path": None}], "kind": [2]}
    datasets.Dataset.from_dict(rows, features).to_parquet(tmp_path / "x.parquet")
    data = open_pictures(tmp_path, SMALL)
    assert (data.classes, data.labels.tolist(), reds(data)) == (CLASSES, [2], [30])
    held = open_pictures(tmp_path, SMALL, classes=("dog", "Hot Dog"), image_column="photo", label_column="kind")
    assert held.labels.tolist() == [1]


def test_parquet_files_by_split(tmp_path: Path) -> None:
    root = tmp_path / "sharded"
    for shard, labels in enumerate([[0, 1], [2]]):
        parquet(root / f"data/train-{shard:05}-of-00002.parquet", labels, names="cat,dog,hot dog")
    parquet(root / "data/validation.parquet", [1], names="hot dog,dog")
    parquet(root / "test/0000.parquet", [1])
    assert splits(root) == ["train", "validation", "test"]
    train = open_pictures(root, SMALL)
    assert (train.labels.tolist(), reds(train), train.source) == ([0, 1, 2], [0, 10, 0], "sharded/train")
    held = open_pictures(root, SMALL, split="validation", classes=train.classes)
    assert (held.labels.tolist(), held.classes) == ([1], CLASSES)
    assert open_pictures(root, SMALL, split="test", classes=train.classes).classes == CLASSES
    by_glob = open_pictures(f"{root}/data/train*.parquet", SMALL)
    assert by_glob.labels.tolist() == [0, 1, 2]
    assert by_glob.sha256 == train.sha256
    assert splits(root / "data/validation.parquet") == ["validation"]
    parquet(root / "trains.parquet", [1])
    with pytest.raises(ValueError, match=r"trains\.parquet belongs to no split"):
        splits(root)


def test_data_without_names_is_numbered(tmp_path: Path) -> None:
    data = open_pictures(parquet(tmp_path / "a.parquet", [3, 0]), SMALL)
    assert data.classes == ("0", "1", "2", "3")
    assert open_pictures(tmp_path, SMALL, classes=tuple("abcde")).classes == tuple("abcde")


def test_plain_bytes_will_do(tmp_path: Path) -> None:
    pq.write_table(pa.table({"image": [coded(50)], "label": [0]}), tmp_path / "a.parquet")
    assert reds(open_pictures(tmp_path, SMALL)) == [50]


@pytest.mark.parametrize(
    ("labels", "names", "message"),
    [
        ([0, 3], "cat,dog,eel", r"has label 3 in row 1; its classes are 0 to 2\."),
        ([0, -1], "", "has label -1 in row 1"),
        ([0, 10**12], "", "has label 1000000000000 in row 1"),
        ([0, None], "", r"whole number as the 'label' of every row, but the column is int64 with 1 of 2 missing"),
        ([0.0, 1.0], "", "whole number as the 'label' of every row, but the column is double"),
        (pa.array([], pa.int64()), "", "holds no pictures"),
    ],
)
def test_labels_that_cannot_be(tmp_path: Path, labels: Sequence[object], names: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        open_pictures(parquet(tmp_path / "a.parquet", labels, names=names), SMALL)


def test_columns_that_are_not_there(tmp_path: Path) -> None:
    path = parquet(tmp_path / "a.parquet", [0], column="picture", kind=["x"])
    with pytest.raises(ValueError, match=r"no 'img' or 'image' for the image; it has \['picture', 'label', 'kind'\]"):
        open_pictures(path, SMALL)
    assert reds(open_pictures(path, SMALL, image_column="picture")) == [0]
    with pytest.raises(ValueError, match="no column 'species' for the label"):
        open_pictures(path, SMALL, image_column="picture", label_column="species")
    with pytest.raises(ValueError, match=r"Column 'label' of .* holds no pictures"):
        open_pictures(path, SMALL, image_column="label")
    parquet(tmp_path / "b.parquet", [0])
    with pytest.raises(ValueError, match=r"b.parquet has the columns .* but not 'picture', which a.parquet has"):
        open_pictures(tmp_path, SMALL, image_column="picture")


# The Hub, and nothing


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nobody/no-such-thing", "nobody/no-such-thing is no file or folder here, and the Hub does not give it"),
        ("nobody/no-such-thing:big", "the Hub does not give it"),
        ("csv", "No such data: csv"),  # which load_dataset would take for all files of this folder
        ("not here", "No such data: not here"),
        ("gone/train.parquet/x", "No such data"),
        ("gone/*.parquet", r"No file is called gone/\*\.parquet"),
        (__file__, "is not a .parquet file"),
    ],
)
def test_what_is_not_there(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        open_pictures(name, SMALL)


def test_things_that_are_no_data(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds neither Parquet files nor folders of pictures"):
        open_pictures(tmp_path, SMALL)
    (tmp_path / "a.parquet").write_bytes(b"PAR1 or not")
    with pytest.raises(ValueError, match="cannot be read as Parquet"):
        open_pictures(tmp_path, SMALL)


def test_a_data_set_of_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stands in for load_dataset alone: what comes from it is a real DatasetDict."""
    features = datasets.Features(
        {"img": datasets.Image(), "fine": datasets.ClassLabel(names=list(CLASSES)), "id": datasets.Value("int32")}
    )
    rows = {"img": [{"bytes": coded(red), "path": None} for red in (10, 20)], "fine": [2, 0], "id": [5, 6]}
    held = {"img": [{"bytes": b"?", "path": None}, {"bytes": coded(30), "path": None}], "fine": [1, 1], "id": [5, 6]}
    asked = []

    def load_dataset(name: str, config: str | None) -> datasets.DatasetDict:
        asked.append((name, config))
        parts = {"train": rows, "validation": held, "test": {**rows, "fine": [-1, -1]}}
        return datasets.DatasetDict({name: datasets.Dataset.from_dict(part, features) for name, part in parts.items()})

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    name = "someone/pets:large"
    assert splits(name) == ["train", "validation", "test"]
    train = open_pictures(name, SMALL)
    validation = open_pictures(name, SMALL, split="validation", classes=train.classes)
    assert asked == [("someone/pets", "large")]
    assert (train.classes, train.labels.tolist(), reds(train)) == (CLASSES, [2, 0], [10, 20])
    assert (validation.labels.tolist(), reds(validation), validation.skipped) == ([1], [30], ("row 0",))
    assert train.source == "someone/pets:large/train"
    assert (len(train.sha256), train.sha256 != validation.sha256) == (64, True)
    with pytest.raises(ValueError, match="has label -1 in row 0"):
        open_pictures(name, SMALL, split="test")


def test_without_datasets_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    for ask in (lambda: splits("owner/name"), lambda: open_pictures(tmp_path, SMALL)):
        with pytest.raises(ValueError, match=r"needs? datasets: pip install 'zoo-efficient\[train\]'"):
            ask()
