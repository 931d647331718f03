"""Boxes beside pictures, from Parquet, COCO, YOLO and Pascal VOC: one form, and what is wrong with them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from box_data import BOXES, LABELS, NAMES, SIZE, picture, write_coco, write_parquet, write_voc, write_yolo, xml
from zoo.data.boxes import BOX_DATA, open_boxes
from zoo.data.pairs import DamagedTarget, Pairs, Walk
from zoo.spec import ImageInput
from zoo.train.paired import PairedAugmentation
from zoo.train.pairs import open_pairs
from zoo.train.recipe import Recipe

pytest.importorskip("datasets")

PLAIN: dict[str, Any] = {"boxes": list(BOXES), "labels": list(LABELS)}


def check(pairs: Pairs, numbers: tuple[int, ...] = (0, 1)) -> None:
    assert pairs.classes == NAMES and pairs.named
    for row, number in enumerate(numbers):
        found = pairs.at(row)
        assert found is not None
        np.testing.assert_array_equal(found[0], picture(number))
        assert found[1]["boxes"].dtype == np.float32 and found[1]["size"] == SIZE
        np.testing.assert_allclose(found[1]["boxes"], BOXES[number], atol=1e-3)
        assert found[1]["labels"].tolist() == LABELS[number]
    assert len(pairs) == len(numbers) and len(pairs.sha256) == 64


@pytest.mark.parametrize("form", ["flat", "objects"])
def test_parquet(form: str, tmp_path: Path) -> None:
    columns = PLAIN
    if form == "objects":
        boxes = [[[x, y, r - x, b - y] for x, y, r, b in each] for each in BOXES]
        columns = {"objects": [{"bbox": a, "category": list(b)} for a, b in zip(boxes, LABELS, strict=True)]}
    check(open_boxes(write_parquet(tmp_path / "train.parquet", columns, {"class_names": "cat,dog"})))
    unnamed = open_boxes(write_parquet(tmp_path / "b.parquet", columns))
    assert unnamed.classes == ("0", "1") and not unnamed.named
    check(open_boxes(tmp_path / "b.parquet", class_names=NAMES))


def test_coco(tmp_path: Path) -> None:
    file = write_coco(tmp_path / "coco")
    write_coco(tmp_path / "coco", "val", "images/val2017")
    assert list(BOX_DATA.splits(tmp_path / "coco")) == ["train", "val"]
    for data, split in ((tmp_path / "coco", "train"), (tmp_path / "coco", "validation"), (file, "train")):
        check(open_boxes(data, split=split))


@pytest.mark.parametrize("names", ["data.yaml", "classes.txt"])
def test_yolo(names: str, tmp_path: Path) -> None:
    root = write_yolo(tmp_path / "yolo", "train", names)
    write_yolo(root, "val", names)
    assert list(BOX_DATA.splits(root)) == ["train", "val"]
    check(open_boxes(root))
    check(open_boxes(root, split="validation"))


def test_voc(tmp_path: Path) -> None:
    root = write_voc(tmp_path / "voc")
    assert list(BOX_DATA.splits(root)) == ["train", "val"]
    check(open_boxes(root), (0,))
    held = open_boxes(root, split="validation", classes=NAMES)  # only dogs are there
    check(held, (1,))
    (root / "ImageSets" / "Main" / "train.txt").write_text("0\n7\n")
    with pytest.raises(ValueError, match=r"train\.txt names '7', of which .* has no picture"):
        open_boxes(root)


def test_classes_go_by_their_names(tmp_path: Path) -> None:
    file = write_parquet(tmp_path / "a.parquet", PLAIN, {"class_names": "cat,dog"})
    pairs = open_boxes(file, classes=("bird", "Dog", "cat"))
    assert pairs.at(0)[1]["labels"].tolist() == [2, 1]  # type: ignore[index]
    with pytest.raises(ValueError, match="has the class 'cat', which is not known"):
        open_boxes(file, classes=("bird", "dog"))


@pytest.mark.parametrize(
    ("boxes", "labels", "said"),
    [
        ([[2.0, 4.0, 63.0, 20.0]], [0], r"row 0 has a box outside of its 60x40 pixels: \(2, 4, 63, 20\)"),
        ([[-4.0, 4.0, 30.0, 20.0]], [0], "has a box outside of its 60x40 pixels"),
        ([[60.5, 4.0, 61.0, 20.0]], [0], "has a box outside of its 60x40 pixels"),
        ([[30.0, 4.0, 30.0, 20.0]], [0], "has a box of no size"),
        ([[30.0, float("nan"), 35.0, 20.0]], [0], "four numbers|of no size"),
        ([[30.0, 4.0, 35.0, 20.0]], [2], "has a box of class 2; the classes are 0 to 1"),
        ([[30.0, 4.0, 35.0, 20.0]], [-1], "has a box of class -1"),
        ([[30.0, 4.0, 35.0]], [1], "a box is four numbers"),
        ([[30.0, 4.0, 35.0, 20.0]], [1, 1], "lists of one length"),
        ([], [], "row 0 has no boxes"),
    ],
)
def test_boxes_that_do_not_fit_are_named(boxes: Any, labels: Any, said: str, tmp_path: Path) -> None:
    columns = {"boxes": [boxes, BOXES[1]], "labels": [labels, LABELS[1]]}
    pairs = open_boxes(write_parquet(tmp_path / "a.parquet", columns), class_names=NAMES)
    with pytest.raises(DamagedTarget, match=rf"a\.parquet, row 0.*({said})|a\.parquet, {said}"):
        pairs.at(0)
    read = Walk(pairs, "RGB", SIZE, skip_damaged=True)
    assert [(one is None, read[row] is None) for row, one in enumerate(read)] == [(True, True), (False, False)]


def test_a_box_that_rounding_moved_out_is_cut(tmp_path: Path) -> None:
    columns = {"boxes": [[[-0.7, 4.0, 61.0, 40.5]]], "labels": [[0]]}
    pairs = open_boxes(write_parquet(tmp_path / "a.parquet", columns), class_names=NAMES)
    assert pairs.at(0)[1]["boxes"].tolist() == [[0.0, 4.0, 60.0, 40.0]]  # type: ignore[index]


def coco_with(file: Path, **changed: Any) -> Path:
    held = json.loads(file.read_text())
    file.write_text(json.dumps({**held, **changed}))
    return file


def test_hostile_json(tmp_path: Path) -> None:
    file = write_coco(tmp_path / "a")
    whole = file.read_text()
    for text, said in (
        ("[" * 100_000, r"is no JSON"),
        ("{", r"is no JSON \(JSONDecodeError"),
        ('{"images": ' + "9" * 10_000 + "}", "is no JSON"),
        ("[1]", "is no file of COCO: it holds list"),
        ('{"images": 3}', "it has no list 'categories'"),
        (whole.replace('"file_name"', '"name"'), "number 0 of 'images' has no proper 'file_name'"),
        (whole.replace('"id": 10', '"id": [10]'), "number 0 of 'images' has no proper 'id'"),
        (whole.replace('"image_id": 11', '"image_id": [9]'), "number 2 of 'annotations' has no proper 'image_id'"),
    ):
        file.write_text(text)
        with pytest.raises(ValueError, match=said):
            open_boxes(file)
    secret = tmp_path / "secret.png"
    secret.write_bytes((tmp_path / "a" / "train2017" / "0.png").read_bytes())
    for name in ("../secret.png", str(secret), "../../etc/passwd"):
        file.write_text(whole)
        coco_with(file, images=[{"id": 10, "file_name": name}, {"id": 11, "file_name": "1.png"}])
        with pytest.raises(ValueError, match="which is not below"):
            open_boxes(file)
    file.write_text(whole.replace("0.png", "gone.png"))
    assert open_boxes(file).at(0) is None  # a picture that cannot be read
    coco_with(file, annotations=[{"image_id": 10, "category_id": 3, "bbox": ["a", 0, 1, 1]}])
    (tmp_path / "a" / "train2017" / "0.png").rename(tmp_path / "a" / "train2017" / "gone.png")
    with pytest.raises(DamagedTarget, match=r"gone\.png: a box is four numbers"):
        open_boxes(file).at(0)


@pytest.mark.parametrize("name", ["annotations.json", "annotations/labels.json"])
def test_a_lone_json_is_for_training(name: str, tmp_path: Path) -> None:
    root = tmp_path / "coco"
    write_coco(root, folder="images").rename(root / "held.json")
    (root / name).parent.mkdir(exist_ok=True)
    (root / "held.json").rename(root / name)
    assert list(BOX_DATA.splits(root)) == ["train"]
    check(open_boxes(root))
    (root / "other.json").write_bytes((root / name).read_bytes())
    with pytest.raises(ValueError, match=rf"split: .*{name}.*instances_train2017\.json, train\.json"):
        open_boxes(root)


def left_out(pairs: Pairs) -> list[bool]:
    read = Walk(pairs, "RGB", SIZE, skip_damaged=True)
    return [read[row] is None for row, _ in enumerate(read)]


def test_damage_in_coco_is_of_a_picture(tmp_path: Path) -> None:
    file = write_coco(tmp_path / "a")
    whole = file.read_text()
    for before, after, said, row, out in (
        ('"image_id": 11', '"image_id": 99', r"image '99': .* has boxes of it, and no such picture", 2, [0, 1, 1]),
        ('11, "category_id": 7', '11, "category_id": 8', r"1\.png: it has a box of the category '8'", 1, [0, 1]),
        ('11, "category_id": 7', '11, "category_id": [7]', r"1\.png: it has a box of the category '\[7\]'", 1, [0, 1]),
        ('11, "category_id": 7, "bbox"', '11, "category_id": 7, "box"', r"1\.png: a box is four numbers", 1, [0, 1]),
        ('"id": 11', '"id": 10', r"0\.png: its id 10 is that of another picture", 0, [1, 1, 1]),
    ):
        assert before in whole
        file.write_text(whole.replace(before, after))
        pairs = open_boxes(file)
        assert left_out(pairs) == list(map(bool, out)), after
        with pytest.raises(DamagedTarget, match=said):
            pairs.at(row)


def test_a_picture_without_its_file_of_boxes_is_damaged(tmp_path: Path) -> None:
    root = write_voc(tmp_path / "voc")
    (root / "ImageSets" / "Main" / "train.txt").write_text("0\n1\n")
    (root / "Annotations" / "0.xml").unlink()
    with pytest.raises(DamagedTarget, match=r"0\.png: it has no 0\.xml in Annotations/"):
        open_boxes(root).at(0)
    assert left_out(open_boxes(root)) == [True, False]
    root = write_yolo(tmp_path / "yolo")
    (root / "labels" / "train" / "0.txt").unlink()
    assert left_out(open_boxes(root)) == [True, False]


def test_hostile_xml(tmp_path: Path) -> None:
    root = write_voc(tmp_path / "voc")
    file = root / "Annotations" / "0.xml"
    bomb = '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "bbbb"><!ENTITY c "&b;&b;">]>' + xml(0).replace("cat", "&c;")
    outside = '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]>' + xml(0).replace("cat", "&b;")
    for text, said in (
        (bomb, "it declares a document type, which is not read"),
        (outside, "it declares a document type, which is not read"),
        ("<annotation>", r"0\.xml is no XML of Pascal VOC"),
        (xml(0).replace("xmin", "left"), r"0\.xml is no XML of Pascal VOC"),
        (xml(0).replace("<xmin>3</xmin>", "<xmin>wide</xmin>"), r"0\.xml is no XML of Pascal VOC"),
        (xml(0).replace("<name>cat</name>", ""), "an object without a name"),
    ):
        file.write_text(text)
        with pytest.raises(DamagedTarget, match=said):
            open_boxes(root).at(0)
    (root / "classes.txt").write_text("cat\ndog")
    file.write_text("<annotation></annotation>")
    with pytest.raises(DamagedTarget, match=r"JPEGImages/0\.png has no boxes"):
        open_boxes(root).at(0)
    file.write_text(xml(0).replace("cat", "cow"))
    with pytest.raises(DamagedTarget, match=r"its object 'cow' is no class of classes\.txt"):
        open_boxes(root).at(0)


def test_hostile_text(tmp_path: Path) -> None:
    root = write_yolo(tmp_path / "yolo")
    file = root / "labels" / "train" / "0.txt"
    for text, said in (
        ("0 0.5 0.5 0.2\n", "line 1 of 0.txt is not a class, a middle, a width and a height"),
        ("\ncat 0.5 0.5 0.2 0.2\n", "line 2 of 0.txt is not a class"),
        ("0 0.5 0.5 inf 0.2\n", "four numbers"),
        ("0 0.9 0.5 0.5 0.2\n", "outside of its 60x40 pixels"),
        ("5 0.5 0.5 0.2 0.2\n", "a box of class 5; the classes are 0 to 1"),
        ("", "has no boxes"),
    ):
        file.write_text(text)
        with pytest.raises(DamagedTarget, match=said):
            open_boxes(root).at(0)
    file.unlink()
    with pytest.raises(DamagedTarget, match=r"images/train/0\.png has no boxes"):
        open_boxes(root).at(0)
    (root / "data.yaml").write_text("names: [")
    with pytest.raises(ValueError, match=r"data\.yaml is no YAML"):
        open_boxes(root)


def test_data_without_boxes_says_what_is_read(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    with pytest.raises(ValueError, match="holds no boxes: neither Parquet files, nor JSON of COCO"):
        open_boxes(tmp_path)
    with pytest.raises(ValueError, match="ignore_index= is for masks"):
        open_boxes(tmp_path, ignore_index=3)
    with pytest.raises(ValueError, match="no 'boxes' or 'bboxes' or 'objects' for the label"):
        open_boxes(write_parquet(tmp_path / "a.parquet", {"points": [1, 2]}))


def test_boxes_follow_their_picture() -> None:
    """What is red or green after a change is what the boxes of the two classes cover."""
    given = ImageInput(size=(30, 50), crop=1.0, squash=True, mean=(0.0, 0.0, 0.0))
    change = PairedAugmentation(given, Recipe(scale_jitter=1.5, color_jitter=0.0))
    target = {"boxes": np.array(BOXES[0], np.float32), "labels": np.array(LABELS[0]), "size": SIZE}
    torch.manual_seed(0)
    counts = []
    for _ in range(20):
        image, found = change(picture(0), target)
        assert image.shape == (30, 50, 3) and found["size"] == (30, 50) and found["boxes"].dtype == np.float32
        for box, label in zip(found["boxes"], found["labels"], strict=True):
            left, top, right, bottom = np.round(box + np.array([0.5, 0.5, -0.5, -0.5])).astype(int)
            assert left >= 0 and top >= 0 and right <= 50 and bottom <= 30
            seen = image[top + 1 : bottom - 1, left + 1 : right - 1]
            if label == 1 and seen.size:  # the green one lies over the red one
                assert (seen[..., 1] > 100).all()
        counts.append(len(found["labels"]))
    assert {1, 2} & set(counts) and len(found["labels"]) == len(found["boxes"])


def test_training_data_of_boxes(tmp_path: Path) -> None:
    file = write_parquet(tmp_path / "train.parquet", {key: value * 3 for key, value in PLAIN.items()})
    given = ImageInput(size=(20, 20), crop=1.0, squash=True)
    train = open_pairs(BOX_DATA, file, given, workers=0)
    (images, targets) = next(train.stream([torch.arange(6)], 0))
    assert images.shape == (6, 20, 20, 3) and len(targets) == 6
    assert all(one["boxes"].max(initial=0) <= 20 and len(one["boxes"]) == len(one["labels"]) for one in targets)
    (images, targets) = next(train.still().stream([torch.arange(2)], 0))
    np.testing.assert_allclose(targets[0]["boxes"], np.array(BOXES[0]) * [1 / 3, 0.5, 1 / 3, 0.5], rtol=1e-6)
