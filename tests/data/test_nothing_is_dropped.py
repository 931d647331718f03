"""Nothing beside the examples is dropped unsaid, and no label counts as another one."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import zoo
from picture_data import network, png, tree
from zoo.data.classes import ClassError, match
from zoo.train.data import open_pictures

SPLITS = ("train/cat/0.png", "train/dog/0.png")
READERS = pytest.mark.parametrize(
    "read",
    [
        lambda path, model: zoo.evaluate(model, path),
        lambda path, model: open_pictures(path, model.spec.pictures),
        lambda path, model: open_pictures(path, model.spec.pictures, cache=False),
    ],
    ids=["evaluate", "cached", "streamed"],
)
Reader = Callable[[Path, Any], Any]


def parquet(path: Path, labels: Any, names: str = "") -> Path:
    cells = [{"bytes": png(), "path": None}] * len(labels)
    table = pa.table({"image": cells, "label": labels})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table.replace_schema_metadata({"class_names": names} if names else None), path)
    return path


@READERS
@pytest.mark.parametrize("table", ["metadata.csv", "metadata.jsonl"])
@pytest.mark.parametrize("place", ["", "train", "train/cat"])
def test_labels_beside_folders_are_refused(tmp_path: Path, read: Reader, table: str, place: str) -> None:
    root = tree(tmp_path, *SPLITS)
    line = "file_name,label" if table.endswith("csv") else '{"file_name": "0.png", "label": 1}'
    (root / place / table).write_text(line)
    with pytest.raises(ValueError, match=f"{table} is a table of Hugging Face's ImageFolder"):
        read(root, network("cat", "dog"))
    (root / place / table).write_text("notes of another kind")
    with pytest.warns(UserWarning, match=table):
        read(root, network("cat", "dog"))


@READERS
@pytest.mark.parametrize("name", ["loose.png", "more.csv", "rest.zip", "test.jsonl"])
@pytest.mark.parametrize("style", ["folders", "parquet"])
def test_files_beside_splits_are_told(tmp_path: Path, read: Reader, name: str, style: str) -> None:
    if style == "folders":
        tree(tmp_path, *SPLITS)
    else:
        parquet(tmp_path / "train.parquet", [0, 1])
    for harmless in ("README.md", "LICENSE", "dataset_infos.json", ".hidden.csv"):
        (tmp_path / harmless).write_text("x")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read(tmp_path, network("cat", "dog"))
    tree(tmp_path, name)
    with pytest.warns(UserWarning, match=f"1 files in .* are left out, because .* is read; '{name}' is one"):
        read(tmp_path, network("cat", "dog"))


@pytest.mark.parametrize("names", [("val", "valid"), ("validation", "dev"), ("val", "dev")])
@pytest.mark.parametrize("style", ["folders", "parquet"])
def test_two_splits_for_validation_are_told_apart(tmp_path: Path, names: Sequence[str], style: str) -> None:
    for name in ("train", *names):
        if style == "folders":
            tree(tmp_path, f"{name}/cat/0.png", f"{name}/dog/0.png")
        else:
            parquet(tmp_path / f"{name}.parquet", [0, 1])
    model = network("cat", "dog")
    for call in (
        lambda: zoo.evaluate(model, tmp_path),
        lambda: zoo.evaluate(model, tmp_path, split="validation"),
        lambda: open_pictures(tmp_path, model.spec.pictures, split="validation"),
    ):
        with pytest.raises(ValueError, match=f"has the splits '{names[0]}' and '{names[1]}', both for validation"):
            call()
    assert len(open_pictures(tmp_path, model.spec.pictures)) == 2


def test_a_split_without_pictures_is_refused(tmp_path: Path) -> None:
    tree(tmp_path, *SPLITS)
    (tmp_path / "val").mkdir()
    with pytest.raises(ValueError, match=r"val/ in .* is a split without pictures"):
        open_pictures(tmp_path, network("cat", "dog").spec.pictures)


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_tables_of_text_are_refused_with_what_to_do(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("image,label")
    for path in (tmp_path / name, tmp_path):
        with pytest.raises(ValueError, match=r"a\.(csv|jsonl) is n.*to_parquet"):
            zoo.evaluate(network("cat", "dog"), path)


@READERS
@pytest.mark.parametrize(
    ("labels", "names", "message"),
    [
        (pa.array([0, 2**63 + 5], pa.uint64()), "", "label 9223372036854775813 in row 1"),
        (pa.array([0, 2**64 - 1], pa.uint64()), "", "label 18446744073709551615 in row 1"),
        ([0, 9, 1], "a,b,c,d,e", "label 9 in row 1.* 0 to 4"),
        ([0, -1], "a,b", "label -1 in row 1.* 0 to 1"),
        ([0, 9], "j,i,h,g,f", "label 9 in row 1.* 0 to 4"),
    ],
)
def test_a_label_without_a_name_is_refused(tmp_path: Path, read: Reader, labels: Any, names: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read(parquet(tmp_path / "a.parquet", labels, names), network(*"abcdefghij"))


def test_a_pipe_is_no_table(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "train.parquet")
    with pytest.raises(ValueError, match="is no regular file"):
        zoo.evaluate(network("cat", "dog"), tmp_path)


@pytest.mark.parametrize("odd", ["n99999999", "dog"])
def test_what_stands_beside_ids_of_imagenet_is_named(odd: str) -> None:
    labels = ("tench", "goldfish", *(f"other {i}" for i in range(998)))
    with pytest.raises(ClassError, match=f"has ids of ImageNet-1k's classes .n01440764., and the class '{odd}' beside"):
        match(["n01440764", odd], labels, "data")
    assert match(["n01440764", "goldfish"], labels, "data") == [0, 1]
