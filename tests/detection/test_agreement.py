"""How alike two detectors answer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from typer.testing import CliRunner

import zoo
from detection.networks import detector, pictures
from zoo.cli import app
from zoo.detection.alike import found_by_both
from zoo.report.agreement import agreement, likeness

BOX = [10.0, 10, 50, 50]
FAR = [60.0, 60, 90, 90]


def found(*rows: tuple[list[float], float, int]) -> dict[str, Tensor]:
    boxes, scores, labels = zip(*rows, strict=True) if rows else ((), (), ())
    return {
        "boxes": torch.tensor(boxes).reshape(-1, 4),
        "scores": torch.tensor(scores),
        "labels": torch.tensor(labels, dtype=torch.int64),
    }


@pytest.mark.parametrize(
    ("ours", "theirs", "told"),
    [
        (found((BOX, 0.9, 0)), found((BOX, 0.8, 0)), (2, 2)),
        (found((BOX, 0.9, 0)), found((BOX, 0.8, 1)), (0, 2)),
        (found((BOX, 0.9, 0)), found(([10.0, 10, 50, 32], 0.9, 0)), (2, 2)),  # overlaps by .55
        (found((BOX, 0.9, 0)), found(([10.0, 10, 50, 28], 0.9, 0)), (0, 2)),  # and by .45
        (found((BOX, 0.9, 0)), found((BOX, 0.2, 0)), (1, 1)),  # less sure, yet there
        (found((BOX, 0.9, 0)), found((BOX, 0.1, 0)), (0, 1)),
        (found((BOX, 0.9, 0)), found(), (0, 1)),
        (found((BOX, 0.1, 0)), found(), (0, 0)),
        (found((BOX, 0.9, 0), (BOX, 0.8, 0)), found((BOX, 0.9, 0)), (2, 3)),  # a box answers for one object
        (found((BOX, 0.9, 0), (FAR, 0.7, 1)), found((FAR, 0.9, 1), (BOX, 0.4, 0)), (4, 4)),
    ],
)
def test_an_object_is_found_again(ours: dict[str, Tensor], theirs: dict[str, Tensor], told: tuple[int, int]) -> None:
    assert found_by_both([ours], [theirs]) == told == found_by_both([theirs], [ours])


def test_detectors_are_told_by_their_objects() -> None:
    model, other = detector("gfl_pan"), detector("gfl_pan")
    with torch.no_grad():
        for key, value in other.named_parameters():
            if "detector" in key and "project" in key and value.dim() > 1:
                value.neg_()
    same = likeness(model, model, [pictures(3)])
    assert same["agreement"] == 100.0 and same["inputs"] == 3 and same["objects"] > 0 and len(same["interval"]) == 2
    changed = likeness(other, model, [pictures(3)])
    assert changed["agreement"] < 100.0 and agreement(other, model, [pictures(3)]) == (changed["agreement"], 3)


def test_detectors_that_find_nothing_are_told_by_their_numbers() -> None:
    model = zoo.edit(detector("ssdlite"), "detector", score_thresh=1.0)
    told = likeness(model, model, [pictures(2)])
    assert told["cosine"] == pytest.approx(1.0, abs=1e-3) and "agreement" not in told


def test_compress_tells_the_objects(tmp_path: Path) -> None:
    zoo.save(detector("gfl_pan"), tmp_path / "net")
    (tmp_path / "pictures").mkdir()
    made = np.random.default_rng(0)
    for number in range(18):
        coarse = Image.fromarray(made.integers(0, 255, (6, 8, 3), np.uint8)).resize((96, 64))
        coarse.save(tmp_path / "pictures" / f"{number}.png")
    given = ["--calibration", str(tmp_path / "pictures")]
    arguments = ["compress", str(tmp_path / "net"), "pruned", "--macs", "0.8", *given, "--out", str(tmp_path / "small")]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.stderr
    assert "inputs, of both networks, are found by both" in done.stdout and "Give inputs" not in done.stderr
    record = zoo.load(tmp_path / "small").made["passes"][0]
    assert record["agreement"] <= 100 and record["objects"] > 0 and len(record["interval"]) == 2
