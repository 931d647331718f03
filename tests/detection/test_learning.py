"""What a detector learns from: its losses in the one loop, and a teacher."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import zoo
from box_data import write_parquet
from detection.networks import NAMES, SIZE, backbone, detector, pictures, spec
from zoo import kinds, registry
from zoo.data.boxes import BOX_DATA
from zoo.detection.objective import DetectionObjective, imitation
from zoo.model.build import build
from zoo.train.finetune import finetune
from zoo.train.loop import fit
from zoo.train.pairs import open_pairs
from zoo.train.recipe import Recipe
from zoo.train.teachers import Ensemble


class Squares:
    """A red or a green square on grey in each picture, uint8."""

    sha256 = "squares"

    def __init__(self, count: int = 16) -> None:
        made = np.random.default_rng(0)
        self.pictures = torch.full((count, *SIZE, 3), 120, dtype=torch.uint8)
        self.targets = []
        for picture in self.pictures:
            side, label = int(made.integers(20, 32)), int(made.integers(0, 2))
            x, y = int(made.integers(0, SIZE[1] - side)), int(made.integers(0, SIZE[0] - side))
            picture[y : y + side, x : x + side, label] = 250
            boxes = np.array([[x, y, x + side, y + side]], np.float32)
            self.targets.append({"boxes": boxes, "labels": np.array([label])})

    def __len__(self) -> int:
        return len(self.pictures)

    def stream(self, batches: Sequence[Tensor], seed: int) -> Iterator[tuple[Tensor, list[Any]]]:
        for index in batches:
            yield self.pictures[index], [self.targets[place] for place in index.tolist()]


@pytest.mark.parametrize("name", [pytest.param("ssdlite", marks=pytest.mark.nightly), "gfl_pan"])
def test_the_loop_teaches_a_detector(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, data = build(spec(name)), Squares()
    recipe = Recipe(epochs=30, batch_size=8, learning_rate=3e-3, optimizer="adamw")
    fit(model, data, recipe, folder=tmp_path)
    table = (tmp_path / "metrics.csv").read_text().splitlines()
    at = table[0].split(",").index("loss")
    first, last = (float(table[row].split(",")[at]) for row in (1, -1))
    assert last < 0.7 * first


def test_an_int8_detector_is_tuned(tmp_path: Path) -> None:
    qat, data = zoo.prepare_qat(detector("gfl_pan"), pictures(8)), Squares(8)
    before = {key: value.clone() for key, value in qat.state_dict().items()}
    fit(qat, data, Recipe(epochs=1, batch_size=4, learning_rate=1e-3, optimizer="adamw"), folder=tmp_path)
    assert any(not torch.equal(value, before[key]) for key, value in qat.state_dict().items() if "detector" in key)
    int8 = zoo.compress(qat, "int8")
    assert all(row.precision == "int8" for row in int8.spec)
    assert len(int8(pictures(1))[0]["scores"]) > 0


@pytest.mark.parametrize("name", NAMES)
def test_a_teacher_pulls_scores_and_boxes(name: str) -> None:
    student, teacher, data = detector(name).train(), detector(name), Squares(4)
    with torch.no_grad():
        raw = teacher.raw(pictures(2))
        moved = raw + torch.randn(raw.shape, generator=torch.Generator().manual_seed(0))
        assert imitation(teacher, raw, raw, SIZE) < imitation(teacher, moved, raw, SIZE)
    with torch.no_grad():
        for key, value in teacher.named_parameters():
            if "detector" in key and "project" in key:
                value.mul_(1.5)
    objective = DetectionObjective(student, Recipe(soft_weight=1.0), Ensemble([teacher], student))
    objective.prepare(student)
    batch = next(data.stream([torch.arange(4)], 0))
    best = torch.optim.SGD(student.detector.parameters(), lr=1e-3)
    losses = []
    for _ in range(5):
        loss, x = objective.loss(student, batch)
        losses.append(loss.item())
        best.zero_grad()
        loss.backward()
        best.step()
    assert x.shape == (4, 3, *SIZE) and losses[-1] < losses[0]


def test_a_teacher_of_other_answers_is_refused() -> None:
    student = detector("gfl_pan")
    with pytest.raises(ValueError, match="ssdlite cannot teach gfl_pan"):
        DetectionObjective(student, Recipe(), detector("ssdlite"))
    with pytest.raises(ValueError, match="learns from one teacher"):
        DetectionObjective(student, Recipe(), Ensemble([student, student], student))


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ({"boxes": torch.zeros(1, 4), "labels": torch.zeros(1)}, "a box without width or height"),
        ({"boxes": torch.tensor([[0.0, 0, 9, 9]]), "labels": torch.tensor([3])}, "a label that is not from 0 to 2"),
        ({"boxes": torch.zeros(2, 5), "labels": torch.zeros(2)}, "not \\(G, 4\\) and \\(G,\\)"),
        ({"labels": torch.zeros(2)}, "no dict with boxes and labels"),
    ],
)
def test_a_target_that_no_picture_has(target: dict[str, Tensor], said: str) -> None:
    model = detector("ssdlite").train()
    with pytest.raises(ValueError, match=said):
        model.losses(model(pictures(2)), [target, target], SIZE)


def test_every_picture_has_a_target() -> None:
    model = detector("ssdlite")
    empty = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0)}
    with pytest.raises(ValueError, match="2 pictures need as many targets, not 1"):
        model.losses(model.raw(pictures(2)), [empty], SIZE)


def test_a_detector_of_one_class_and_a_batch_of_which_one_picture_is_left(tmp_path: Path) -> None:
    pytest.importorskip("pycocotools")
    boxes = [[[2.0, 4, 30, 20]], [[2.0, 4, 300, 20]], [[2.0, 4, 30, 20]], [[2.0, 4, 30, 20]]]
    file = write_parquet(tmp_path / "train.parquet", {"boxes": boxes, "labels": [[0]] * 4}, {"class_names": "cell"})
    narrow = {"num_classes": 1, "backbone": backbone(), "extra_channels": (8, 8, 8, 8)}
    model = build(kinds.with_size(registry.spec("ssdlite", **narrow), SIZE))
    data = open_pairs(BOX_DATA, file, model.spec.pictures, workers=0, skip_damaged=True)
    images, targets = next(data.stream([torch.tensor([0, 1])], 0))
    assert len(images) == len(targets) == 2 and torch.equal(images[0], images[1]), "batch norm needs two"
    recipe = Recipe(epochs=1, batch_size=2, bfloat16=False)
    made = finetune(model, data, recipe, tmp_path / "m", quiet=True)
    assert made.labels == ("cell",) and data.skipped == ("row 1",)
