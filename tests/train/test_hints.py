"""Feature distillation: maps that follow a teacher's, in the one loop."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

import toy_segmenter
import zoo
from detection.networks import detector, spec
from detection.test_learning import Squares
from networks import lively
from short_runs import RECIPE, SPEC, Cut, Killed, assert_equal, fresh, run
from zoo import kinds, registry
from zoo.detection.objective import DetectionObjective
from zoo.model.build import Model, build
from zoo.train.finetune import finetune
from zoo.train.hints import Hints
from zoo.train.images import ImageSet
from zoo.train.objective import Supervised
from zoo.train.recipe import Recipe
from zoo.train.teachers import Ensemble

HINTED = replace(RECIPE, feature_weight=1.0, epochs=2)


def wide() -> Model:
    """A teacher of `SPEC` with twice as many channels."""
    first, second, *_ = SPEC.rows
    rows = (
        first.replace(out_channels=16),
        second.replace(in_channels=16, mid_channels=16, out_channels=16),
        SPEC.rows[2],
        SPEC.rows[3].replace(in_features=16),
    )
    torch.manual_seed(7)
    return build(SPEC.replace(rows=rows, name="wide"))


def falls(objective: Any, student: Model, batch: Any) -> tuple[float, float]:
    """The distance of the maps before and after a few steps on one batch."""
    objective.prepare(student)
    learned = objective.learned
    best = torch.optim.Adam([*student.parameters(), *learned.parameters()], lr=1e-2)
    seen: list[float] = []
    learned.register_forward_hook(lambda module, given, made: seen.append(made.item()))
    for _ in range(8):
        loss, _ = objective.loss(student, batch)
        best.zero_grad()
        loss.backward()
        best.step()
    return seen[0], seen[-1]


def test_maps_come_nearer_to_those_of_teachers(data: ImageSet) -> None:
    student, teachers = fresh(), [wide(), fresh(3)]
    objective = Supervised(student, HINTED, Ensemble(teachers, student))
    assert objective.learned is not None and objective.learned.taps == ("stem", "a")
    shapes = [tuple(one.shape) for one in objective.learned.parameters()]
    assert shapes == [(16, 8, 1, 1), (16,)] * 2, "a convolution where channels differ, none where they do not"
    first, last = falls(objective, student, next(data.stream([torch.arange(16)], 0)))
    assert last < 0.9 * first


def test_the_weight_scales_what_is_added(data: ImageSet) -> None:
    batch, teacher = next(data.stream([torch.arange(8)], 0)), wide()
    losses = []
    for weight in (0.0, 1.0, 3.0):
        student = fresh()
        objective = Supervised(student, replace(HINTED, feature_weight=weight), teacher)
        objective.prepare(student)
        torch.manual_seed(0)
        losses.append(objective.loss(student, batch)[0].item())
    assert losses[1] > losses[0] and losses[2] - losses[0] == pytest.approx(3 * (losses[1] - losses[0]), rel=1e-4)


def test_a_cut_run_ends_as_the_uninterrupted_one(data: ImageSet, tmp_path: Path) -> None:
    def hinted(folder: str, cut: int) -> Any:
        return run(data, tmp_path / folder, HINTED, teacher=wide(), after_step=Cut(cut), save_seconds=0)

    whole = hinted("whole", 0)
    with pytest.raises(Killed):
        hinted("cut", 7)
    assert_equal(hinted("cut", 0), whole)
    plain = run(data, tmp_path / "plain", replace(HINTED, feature_weight=0.0), teacher=wide())
    assert any(not torch.equal(value, whole[key]) for key, value in plain.items())


def test_what_is_saved_has_the_rows_of_the_student_alone(data: ImageSet, tmp_path: Path) -> None:
    made = finetune(fresh(), data, HINTED, tmp_path, teachers=[wide()], quiet=True)
    assert made.made["trained"]["feature_weight"] == 1.0
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        assert set(file.keys()) == set(fresh().state_dict())
    zoo.load(tmp_path)


def test_a_segmenter_follows_its_teacher() -> None:
    torch.manual_seed(0)
    given = toy_segmenter.network()
    student, teacher = build(given), lively(given)
    recipe = Recipe(feature_weight=1.0, bfloat16=False)
    objective = Supervised(student, recipe, Ensemble([teacher], student))
    batch = (torch.randint(0, 255, (2, 24, 32, 3), dtype=torch.uint8), torch.randint(0, 3, (2, 24, 32)))
    first, last = falls(objective, student, batch)
    assert last < 0.9 * first


def test_a_detector_follows_the_maps_that_its_teachers_head_reads() -> None:
    torch.manual_seed(0)
    student, teacher = build(spec("ssdlite")), detector("ssdlite")
    objective = DetectionObjective(student, Recipe(feature_weight=1.0), Ensemble([teacher], student))
    assert objective.learned is not None
    assert {"detector_in", "s4", "extra1"} < set(objective.learned.taps)
    batch = next(Squares(2).stream([torch.arange(2)], 0))
    first, last = falls(objective, student, batch)
    assert last < 0.95 * first


@pytest.mark.parametrize("name", ["lraspp", "deeplabv3plus", "fastscnn", "ssdlite", "gfl_pan", "resnet20"])
def test_every_network_of_pictures_has_maps_of_every_resolution(name: str) -> None:
    with torch.device("meta"):
        model = build(registry.spec(name))
        chosen = Hints(model, [model], Recipe(feature_weight=1.0)).taps
    shapes = {row.name: shape for row, shape in zip(model.spec, kinds.row_shapes(model.spec), strict=True)}
    assert len(chosen) >= 3 and len({shapes[row][1:] for row in chosen}) == len(chosen)


def test_rows_are_named() -> None:
    made = Hints(fresh(), [wide()], replace(HINTED, feature_rows="a, stem=stem"))
    assert made.taps == ("a", "stem") and made.teacher_taps == (("a", "stem"),)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"feature_rows": "body"}, "tiny has no row 'body'. Rows with a map: stem, a."),
        ({"feature_rows": "a=body"}, "wide has no row 'body'"),
        ({"feature_rows": "pool"}, "row 'pool' of tiny gives no map"),
        ({"feature_rows": "a=stem"}, r"maps of 'a' \(2x2\) and 'stem' of the teacher \(4x4\) differ in size"),
        ({"feature_rows": "stem", "freeze": 1}, "maps of frozen rows alone: stem"),
    ],
)
def test_maps_that_cannot_be_compared(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Hints(fresh(), [wide()], replace(HINTED, **changes))


def test_what_has_no_maps_and_what_has_no_effect(data: ImageSet, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="feature_weight= needs a teacher"):
        finetune(fresh(), data, HINTED, tmp_path)
    with pytest.raises(ValueError, match="feature_rows= names rows"):
        finetune(fresh(), data, replace(RECIPE, feature_rows="a"), tmp_path, teachers=[wide()])
    with pytest.raises(ValueError, match="no zoo model"):
        Supervised(fresh(), HINTED, torch.nn.Identity())
    table = zoo.create("deepfm", weights=None)
    with pytest.raises(ValueError, match=r"deepfm takes .*rows"):
        Hints(table, [table], HINTED)
    assert not list(tmp_path.iterdir())
