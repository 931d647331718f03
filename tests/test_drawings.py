"""`zoo predict NAME PICTURE --out FILE` draws what a segmenter sees."""

from __future__ import annotations

import itertools
import json
import os
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import toy_segmenter
import zoo
from mask_data import NAMES, scene, write_folders
from zoo.cli import app
from zoo.cli.drawings import Drawings
from zoo.tasks.drawing import LONGEST, OPACITY, color_of, with_legend
from zoo.tasks.segmentation import Regions


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    toy_segmenter.known(monkeypatch)


@pytest.fixture
def model() -> zoo.Model:
    """Its first row passes colours on in channels 0 to 2, so the class of a pixel is its strongest colour."""
    made = zoo.build(toy_segmenter.network())
    state = made.state_dict()
    for key, tensor in state.items():
        if key.endswith(("conv.weight", "fc.weight")):
            tensor.zero_()
            for colour in range(3):
                tensor[colour, colour, tensor.shape[2] // 2, tensor.shape[3] // 2] = 1.0
    made.labels = NAMES
    return made


def invoked(*arguments: object) -> str:
    done = CliRunner().invoke(app, [*map(str, arguments)])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_colours_differ_and_stay() -> None:
    colors = [color_of(number) for number in range(64)]
    assert len(set(colors)) == 64 and color_of(3) == (178, 9, 157)
    near = [sum(abs(a - b) for a, b in zip(one, other, strict=True)) for one, other in itertools.pairwise(colors)]
    assert min(near) > 100


def test_every_pixel_gets_the_colour_of_its_class(model: zoo.Model) -> None:
    picture = Image.fromarray(np.full((48, 64, 3), 100, np.uint8))
    scores = torch.zeros(3, 24, 32)
    scores[1, :, 16:] = 9.0
    drawn = Regions(model, scores).draw(picture)
    assert drawn.width >= 64 and drawn.height > 48  # wider where a name needs it
    for x, number in ((4, 0), (60, 1)):
        expected = [(1 - OPACITY) * 100 + OPACITY * value for value in color_of(number)]
        np.testing.assert_allclose(drawn.getpixel((x, 20)), expected, atol=1)
    below = {drawn.getpixel((x, y)) for y in range(48, drawn.height) for x in range(drawn.width)}
    assert color_of(0) in below and color_of(1) in below and color_of(2) not in below
    large = Image.new("RGB", (3 * LONGEST, 300))
    assert Regions(model, scores).draw(large).width == LONGEST
    assert with_legend(picture, []) is picture


def test_a_picture_is_drawn_into_a_file(model: zoo.Model, tmp_path: Path) -> None:
    zoo.save(model, tmp_path / "m")
    picture, mask = scene(1)
    Image.fromarray(picture).save(tmp_path / "a.png")
    shown = invoked("predict", tmp_path / "m", tmp_path / "a.png", "--out", tmp_path / "drawn" / "b.png")
    first, second = np.unique(mask)
    assert NAMES[first] in shown and NAMES[second] in shown
    drawn = Image.open(tmp_path / "drawn" / "b.png")
    assert drawn.width >= 32 and drawn.height > 24
    told = json.loads(invoked("predict", tmp_path / "m", tmp_path / "a.png", "--json"))
    shares = {one["label"]: one["share"] for one in told["images"][0]["classes"]}
    assert sum(shares.values()) == pytest.approx(1.0)
    for number in (first, second):
        assert shares[NAMES[number]] == pytest.approx(float((mask == number).mean()), abs=0.15)


def test_a_pipe_is_read_once(model: zoo.Model, tmp_path: Path) -> None:
    """What a pipe held is gone after one reading, and a picture is opened for its answer and for its drawing."""
    zoo.save(model, tmp_path / "m")
    pipe = tmp_path / "pipe.png"
    os.mkfifo(pipe)
    Image.fromarray(scene(1)[0]).save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    writer = threading.Thread(target=pipe.write_bytes, daemon=True, args=(content,))
    writer.start()
    told = json.loads(invoked("predict", tmp_path / "m", pipe, "--out", tmp_path / "b.png", "--json"))
    writer.join()
    same = json.loads(invoked("predict", tmp_path / "m", tmp_path / "a.png", "--json"))
    assert told["images"][0]["classes"] == same["images"][0]["classes"]
    assert Image.open(tmp_path / "b.png").width >= 32


def test_a_folder_is_drawn_into_a_folder(model: zoo.Model, tmp_path: Path) -> None:
    zoo.save(model, tmp_path / "m")
    root = write_folders(tmp_path / "data", 2, "x/y", "masks")
    told = json.loads(invoked("predict", tmp_path / "m", root / "x", "--out", tmp_path / "out", "--json"))
    files = sorted((tmp_path / "out").rglob("*.png"))
    assert [str(file) for file in files] == [one["drawing"] for one in told["images"]]
    assert [file.relative_to(tmp_path / "out").as_posix() for file in files] == ["y/0.png", "y/1.png"]


def test_what_cannot_be_drawn_is_refused(model: zoo.Model, tmp_path: Path) -> None:
    zoo.save(model, tmp_path / "m")
    root = write_folders(tmp_path / "data", 2)
    here = str(root / "images" / "0.jpg")
    for arguments, said in (
        ([tmp_path / "m", root / "images", "--out", tmp_path / "a.png"], "is one file, and there are 2 pictures"),
        ([tmp_path / "m", here, "--out", here], "would replace the picture"),
        (["resnet20", here, "--out", tmp_path / "a.png"], "draws masks and boxes, and resnet20"),
        ([tmp_path / "m", here, here, "--out", tmp_path / "a.png"], "is one file, and there are 2 pictures"),
    ):
        done = CliRunner().invoke(app, ["predict", *map(str, arguments)])
        assert done.exit_code and said in done.output, done.output
    assert not (tmp_path / "a.png").exists()


def test_out_is_a_picture_or_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for out, inputs, said in (
        ("x.txt", ["a.png"], r"x\.txt ends in \.txt: a drawing's file ends in \.png, \.jpg"),
        ("x.gif", ["a.png", "b.png"], r"ends in \.gif"),
        ("file", ["a.png"], "cannot be a folder"),
        ("file/x.png", ["a.png"], "cannot be a folder"),
    ):
        with pytest.raises(ValueError, match=said):
            Drawings(str(tmp_path / out), inputs, inputs)
    for out, file in (("v1.2", "v1.2/a.png"), ("x.txt/", "x.txt/a.png"), ("new/x.jpg", "new/x.jpg")):
        assert Drawings(f"{tmp_path}/{out}", ["a.png"], ["a.png"]).of("a.png") == tmp_path / file
    assert [one.name for one in tmp_path.iterdir()] == ["file"]
