"""Masks beside pictures: in Parquet and in folders, their void pixels, their classes, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mask_data import NAMES, coded, scene, write_folders, write_parquet
from zoo.data.masks import MASK_DATA, open_mask, open_masks
from zoo.data.pairs import DamagedTarget, Walk
from zoo.data.void import IGNORED

pytest.importorskip("datasets")


def test_parquet_gives_pictures_and_masks(tmp_path: Path) -> None:
    scenes = [scene(seed) for seed in range(3)]
    file = write_parquet(tmp_path / "train.parquet", scenes)
    pairs = open_masks(file)
    assert (len(pairs), pairs.classes, pairs.named, pairs.source) == (3, ("0", "1", "2"), False, "train.parquet")
    for row, (picture, mask) in enumerate(scenes):
        found = pairs.at(row)
        assert found is not None
        np.testing.assert_array_equal(found[0], picture)
        np.testing.assert_array_equal(found[1], mask)
    assert list(MASK_DATA.splits(file)) == ["train"] and len(pairs.sha256) == 64


@pytest.mark.parametrize("told", ["option", "metadata", "usual"])
def test_void_pixels_do_not_count(told: str, tmp_path: Path) -> None:
    value = {"option": 3, "metadata": 9, "usual": 255}[told]
    picture, mask = scene(0)
    mask[:5] = value
    file = write_parquet(
        tmp_path / "a.parquet", [(picture, mask)], {"ignore_index": "9"} if told == "metadata" else None
    )
    pairs = open_masks(file, ignore_index=3 if told == "option" else None, class_names=NAMES)
    found = pairs.at(0)
    assert found is not None and (found[1][:5] == IGNORED).all() and (found[1][5:] == mask[5:]).all()
    assert pairs.classes == NAMES and pairs.named


def test_classes_go_by_their_names(tmp_path: Path) -> None:
    picture, mask = scene(0)
    file = write_parquet(tmp_path / "a.parquet", [(picture, mask)], {"class_names": "red,green,blue"})
    pairs = open_masks(file, classes=("blue", "Red", "green"))
    found = pairs.at(0)
    assert found is not None and pairs.classes == ("blue", "Red", "green")
    np.testing.assert_array_equal(found[1], np.array([1, 2, 0])[mask])
    with pytest.raises(ValueError, match="has the class 'red', which is not known"):
        open_masks(file, classes=("blue", "car", "green"))
    with pytest.raises(ValueError, match="class_names= is for data without names"):
        open_masks(file, class_names=("sky", "road", "car"))


@pytest.mark.parametrize("layout", ["flat", "above", "below", "other"])
def test_folders_are_matched_by_name(layout: str, tmp_path: Path) -> None:
    root = tmp_path / "streets"
    if layout == "above":
        write_folders(root / "train"), write_folders(root / "val", 2)
    elif layout == "below":
        write_folders(root, 3, "images/train", "masks/train"), write_folders(root, 2, "images/val", "masks/val")
    else:
        write_folders(root, 3, *(("JPEGImages", "annotations") if layout == "other" else ("images", "masks")))
    (root / "classes.txt").write_text("red\ngreen\n\nblue\n")
    pairs = open_masks(root)
    assert len(pairs) == 3 and pairs.classes == NAMES and pairs.named
    np.testing.assert_array_equal(pairs.at(1)[1], scene(1)[1])  # type: ignore[index]
    if layout in ("above", "below"):
        assert list(MASK_DATA.splits(root)) == ["train", "val"]
        validation = open_masks(root, split="validation")
        assert len(validation) == 2 and validation.source == "streets/val"
        assert len({pairs.sha256, validation.sha256}) == 2


def test_what_is_alone_or_twice_is_refused(tmp_path: Path) -> None:
    root = write_folders(tmp_path / "a")
    (root / "masks" / "1.png").rename(root / "masks" / "9.png")
    with pytest.raises(ValueError, match=r"1 pictures of .* have no file in masks/; .*1\.jpg is one"):
        open_masks(root)
    (root / "images" / "1.jpg").unlink()
    with pytest.raises(ValueError, match=r"1 files in .* have no picture; .*9\.png is one"):
        open_masks(root)
    (root / "masks" / "9.png").unlink()
    (root / "images" / "2.png").write_bytes(coded(scene(0)[0]))
    with pytest.raises(ValueError, match="two pictures of the name 2"):
        open_masks(root)
    with pytest.raises(ValueError, match="holds neither Parquet files nor the folders images/ and masks/"):
        open_masks(root / "images")
    write_folders(tmp_path / "b", 1, "images/train", "masks/train")
    write_folders(tmp_path / "b", 1, "images/val", "masks/x")
    with pytest.raises(ValueError, match="masks needs a folder val/"):
        open_masks(tmp_path / "b")


def test_a_mask_that_does_not_fit_is_named(tmp_path: Path) -> None:
    picture, mask = scene(0)
    colours = np.zeros((*mask.shape, 3), np.uint8)
    far = mask.copy()
    far[0, 0] = 7
    wrong = [
        (mask[:-1], r"a\.parquet, row 1 is 32x24 pixels, and its mask 32x23"),
        (far, r"a\.parquet, row 1 has class 7 in its mask; the classes are 0 to 2, and 255 is void"),
        (b"no picture", r"a\.parquet, row 1 has a mask that cannot be read"),
        (coded(mask)[:60], r"a\.parquet, row 1 has a mask that cannot be read"),
        (colours, r"a\.parquet, row 1 has a mask of colours \(RGB\)"),
        (coded(mask, "JPEG"), r"a\.parquet, row 1 has a mask that cannot be read.*PNG, BMP, TIFF, GIF"),
        (None, r"a\.parquet, row 1 has no mask"),
    ]
    for target, said in wrong:
        file = write_parquet(tmp_path / "a.parquet", [(picture, mask), (picture, target), (b"?", mask)])
        pairs = open_masks(file, class_names=NAMES)
        with pytest.raises(DamagedTarget, match=said):
            pairs.at(1)
        assert pairs.at(2) is None  # a picture that cannot be read
        with pytest.raises(DamagedTarget):
            list(Walk(pairs, "RGB", (24, 32)))
        read = Walk(pairs, "RGB", (24, 32), skip_damaged=True)
        seen = [(picture is None, read[row] is None) for row, picture in enumerate(read)]
        assert seen == [(False, False), (True, True), (True, True)]


def test_modes_that_hold_numbers(tmp_path: Path) -> None:
    mask = scene(1)[1]
    palette = Image.fromarray(mask).convert("P")
    palette.putdata(mask.flatten().tolist())
    palette.putpalette([200, 100, 0, 1, 2, 3, 9, 9, 9])
    for name, one in (("P.png", palette), ("I.png", Image.fromarray(mask.astype(np.uint16)))):
        one.save(tmp_path / name)
        np.testing.assert_array_equal(open_mask(tmp_path / name, name), mask)
    Image.fromarray(mask > 1).save(tmp_path / "1.png")
    np.testing.assert_array_equal(open_mask(tmp_path / "1.png", "1"), mask > 1)


def test_classes_that_no_mask_tells(tmp_path: Path) -> None:
    picture, mask = scene(0)
    void = write_parquet(tmp_path / "void.parquet", [(picture, mask * 0 + 255)])
    with pytest.raises(ValueError, match="has no mask with a class"):
        open_masks(void)
    many = write_parquet(tmp_path / "many.parquet", [(picture, mask.astype(np.uint16) + 300)])
    with pytest.raises(ValueError, match=r"class 30[012] in the mask of many\.parquet"):
        open_masks(many)
    assert len(open_masks(many, class_names=NAMES)) == 1  # nothing is decoded before it is asked for
    with pytest.raises(ValueError, match="no 'mask' or 'masks' or 'annotation' or 'label' for the label"):
        open_masks(write_parquet(tmp_path / "other.parquet", [(picture, mask)], mask="depth"))
    assert len(open_masks(tmp_path / "other.parquet", target_column="depth")) == 1


def test_a_data_set_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from datasets import DatasetDict, load_dataset

    file = write_parquet(tmp_path / "x.parquet", [scene(0), scene(1)], mask="annotation")
    hub = load_dataset("parquet", data_files=str(file), split="train", cache_dir=str(tmp_path / "cache"))
    monkeypatch.setattr("zoo.data.splits._hub", lambda name: DatasetDict(train=hub))
    pairs = open_masks("someone/streets")
    assert len(pairs) == 2 and pairs.source == "someone/streets/train"
    np.testing.assert_array_equal(pairs.at(1)[1], scene(1)[1])  # type: ignore[index]
