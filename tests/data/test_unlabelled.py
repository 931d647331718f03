"""Pictures to calibrate on, of everything that holds pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from typer.testing import CliRunner

import toy_segmenter
import zoo
from training_data import coded, parquet
from zoo.cli import app
from zoo.data.pictures import ImageError, open_picture
from zoo.data.unlabelled import pictures_at, pictures_in


def drawn(path: Path, value: int = 90) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (value, 0, 0)).save(path)
    return path


def reds(*paths: Path, **options: Any) -> list[int]:
    found, _ = pictures_at(paths, **options)
    return [int(np.asarray(open_picture(one, "RGB"))[4, 4, 0]) for one in found]


def test_a_table_gives_its_pictures_at_even_distances(tmp_path: Path) -> None:
    file = parquet(tmp_path / "tables" / "train.parquet", list(range(10)))
    assert reds(file) == reds(file.parent) == list(range(0, 100, 10))
    assert reds(file, most=5) == [0, 20, 40, 60, 80]
    one = drawn(tmp_path / "one.png", 7)
    assert reds(one, file, most=3)[0] == 7 and pictures_at([one, file], most=3)[1] == 11


def test_of_a_folder_with_splits_it_is_the_one_for_training(tmp_path: Path) -> None:
    parquet(tmp_path / "validation.parquet", [0])
    parquet(tmp_path / "train.parquet", [0, 1, 2])
    assert len(reds(tmp_path)) == 3


@pytest.mark.parametrize(
    ("pictures", "targets"),
    [
        ("images", "masks"),
        ("images/train", "masks/train"),
        ("train/images", "train/masks"),
        ("JPEGImages", "SegmentationClass"),
    ],
)
def test_masks_beside_pictures_are_no_pictures(tmp_path: Path, pictures: str, targets: str) -> None:
    right = drawn(tmp_path / pictures / "a.png")
    mask = drawn(tmp_path / targets / "a.png")
    assert pictures_in([tmp_path]) == [right] == pictures_at([tmp_path])[0]
    assert pictures_in([mask.parent]) == [mask], "a folder that was named is read"


def test_a_class_may_be_called_masks(tmp_path: Path) -> None:
    found = [drawn(tmp_path / name / "a.png") for name in ("labels", "masks")]
    assert pictures_in([tmp_path]) == found


def test_json_of_coco_gives_the_pictures_that_it_names(tmp_path: Path) -> None:
    drawn(tmp_path / "images" / "a.png", 30)
    drawn(tmp_path / "images" / "other.png", 40)
    held = {"images": [{"id": 1, "file_name": "a.png"}], "annotations": [], "categories": [{"id": 1, "name": "cell"}]}
    (tmp_path / "annotations").mkdir()
    file = tmp_path / "annotations" / "instances_train.json"
    file.write_text(json.dumps(held))
    assert reds(file) == [30]


def test_what_has_no_pictures(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is a folder without pictures"):
        pictures_at([tmp_path])
    file = parquet(tmp_path / "a.parquet", [0, 1], column="sound")
    with pytest.raises(ValueError, match="sound"):
        pictures_at([file])
    cells = [{"bytes": coded(3), "path": None}, {"bytes": b"no picture", "path": None}]
    pq.write_table(pa.table({"image": cells}), tmp_path / "b.parquet")
    found, _ = pictures_at([tmp_path / "b.parquet"])
    with pytest.raises(ImageError, match=r"b\.parquet, row 1"):
        open_picture(found[1], "RGB")
    pq.write_table(pa.table({"image": [{"bytes": None, "path": "away.png"}]}), tmp_path / "c.parquet")
    with pytest.raises(ValueError, match=r"c\.parquet, row 0: there is no picture"):
        pictures_at([tmp_path / "c.parquet"])


def test_compress_calibrates_on_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toy_segmenter.known(monkeypatch)
    zoo.save(zoo.create("toy_segmenter", weights=None), tmp_path / "net")
    file = parquet(tmp_path / "train.parquet", list(range(18)))
    arguments = ["compress", str(tmp_path / "net"), "int8", "--calibration", str(file), "--out", str(tmp_path / "int8")]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0 and "of the pixels of 18 inputs get the same answer as from" in done.stdout
