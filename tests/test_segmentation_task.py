"""A network that answers for every pixel: its loss, its figures, its answer."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import toy_segmenter
import zoo
from zoo import kinds, registry, tasks
from zoo.catalog import manifest
from zoo.catalog.info import _measured
from zoo.catalog.listing import purpose
from zoo.data.void import IGNORED
from zoo.report.agreement import likeness
from zoo.tasks.objectives import of_pixels
from zoo.tasks.segmentation import PixelMetrics, Regions
from zoo.train.imitation import Imitation
from zoo.train.recipe import Recipe


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    toy_segmenter.known(monkeypatch)


@pytest.fixture
def model() -> zoo.Model:
    torch.manual_seed(0)
    return zoo.build(toy_segmenter.network())


def test_it_answers_for_every_pixel_of_pictures_that_are_not_square(model: zoo.Model) -> None:
    spec = model.spec
    assert tasks.of(spec) is tasks.TASKS["image-segmentation"] and tasks.of(spec.replace(task="x")) is tasks.of(spec)
    assert kinds.classes(spec) == 3 and kinds.per_pixel(spec) and purpose(spec) == "3 classes, 24x32"
    assert kinds.row_shapes(spec)[-1] == (3, 24, 32) and tasks.batch_of(spec) == 8
    with torch.inference_mode():
        assert model(zoo.preprocess(model)(np.zeros((48, 64, 3), np.uint8))).shape == (1, 3, 24, 32)
        assert model(torch.zeros(2, 3, 40, 20)).shape == (2, 3, 40, 20)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_the_mean_over_the_pixels_that_count(smoothing: float) -> None:
    torch.manual_seed(0)
    scores = torch.randn(2, 3, 4, 5)
    masks = torch.randint(0, 3, (2, 4, 5), dtype=torch.uint8)
    masks[0, :2] = IGNORED
    counted = [
        F.cross_entropy(scores[i, :, y, x][None], masks[i, y, x].long()[None], label_smoothing=smoothing)
        for i, y, x in (masks != IGNORED).nonzero().tolist()
    ]
    torch.testing.assert_close(of_pixels(scores, masks, label_smoothing=smoothing), torch.stack(counted).mean())


def test_the_loss_is_taken_at_the_size_of_the_masks_and_is_zero_where_nothing_counts() -> None:
    scores = torch.zeros(1, 2, 2, 2, requires_grad=True)
    with torch.no_grad():
        scores[:, 0, :, 0], scores[:, 1, :, 1] = 50.0, 50.0
    left_right = torch.tensor([[0, 0, 0, 0, 1, 1, 1, 1]] * 8, dtype=torch.uint8)[None]
    assert of_pixels(scores, left_right) < 1e-6 < of_pixels(scores, 1 - left_right)
    nothing = of_pixels(scores, torch.full((1, 8, 8), IGNORED, dtype=torch.uint8))
    nothing.backward()
    assert nothing == 0 and scores.grad is not None and not scores.grad.any()


def by_hand(answers: list[np.ndarray], masks: list[np.ndarray], classes: int) -> tuple[float, float, dict[int, float]]:
    """mIoU, pixel accuracy and the intersection over union of each class, pixel by pixel."""
    pairs = [(a, m) for one, mask in zip(answers, masks, strict=True) for a, m in zip(one.flat, mask.flat, strict=True)]
    pairs = [(a, m) for a, m in pairs if m != IGNORED]
    shares = {}
    for number in range(classes):
        union = sum(number in pair for pair in pairs)
        if union:
            shares[number] = 100 * sum(a == m == number for a, m in pairs) / union
    return sum(shares.values()) / len(shares), 100 * sum(a == m for a, m in pairs) / len(pairs), shares


def test_figures_are_those_of_all_pixels_together() -> None:
    """Pictures of two sizes, void pixels, and a class that is nowhere."""
    torch.manual_seed(0)
    judge = PixelMetrics("mIoU", "the test")
    answers, masks = [], []
    for height, width in ((5, 7), (6, 4), (5, 7)):
        mask = torch.randint(0, 4, (height, width), dtype=torch.uint8)
        mask[0] = IGNORED
        scores = torch.randn(1, 5, height, width) + 2 * F.one_hot(mask.long() % 4, 5).permute(2, 0, 1)
        scores[:, 4] = -99.0
        judge.add(scores, [mask.numpy()])
        answers.append(scores[0].argmax(0).numpy())
        masks.append(mask.numpy())
    mean, accuracy, shares = by_hand(answers, masks, 5)
    assert judge.figures() == pytest.approx({"mIoU": mean, "pixel accuracy": accuracy})
    assert judge.per_class() == pytest.approx(shares) and 4 not in shares and 30 < mean < accuracy < 100


def test_small_answers_are_judged_at_the_size_of_the_masks() -> None:
    judge = PixelMetrics("mIoU", "the test")
    scores = torch.tensor([[[[1.0, 0.0]], [[0.0, 1.0]]]])
    judge.add(scores, [np.array([[0, 0, 0, 1, 1, 1]], np.uint8)])
    assert judge.figures() == {"mIoU": 100.0, "pixel accuracy": 100.0}


def test_masks_that_cannot_be_judged_are_refused() -> None:
    judge = PixelMetrics("mIoU", "streets")
    with pytest.raises(ValueError, match="streets has class 2, but the network knows only 0 to 1"):
        judge.add(torch.zeros(1, 2, 1, 2), [np.array([[0, 2]], np.uint8)])
    judge.add(torch.zeros(1, 2, 1, 2), [np.array([[IGNORED, IGNORED]], np.uint8)])
    with pytest.raises(ValueError, match="streets has no pixel with a class"):
        judge.figures()


def test_arrays_in_memory_are_measured(model: zoo.Model) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (3, 24, 32, 3), np.uint8)
    with torch.inference_mode():
        answers = model(zoo.preprocess(model)(pictures)).argmax(1).numpy().astype(np.uint8)
    right = zoo.evaluate(model, (pictures, answers))
    assert (right.metric, right.value, right.examples) == ("mIoU", 100.0, 3)
    assert right.metrics == {"mIoU": 100.0, "pixel accuracy": 100.0} and "pixel accuracy 100.00%" in repr(right)
    assert right.class_metric == "IoU" and right.units == {"mIoU": "%", "pixel accuracy": "%"}
    with pytest.raises(ValueError, match=r"masks are arrays uint8 \(H, W\); number 0 is int64 of \(\)"):
        zoo.evaluate(model, (pictures, [1, 2, 0]))
    with pytest.raises(ValueError, match="3 pictures need as many masks, not 2"):
        zoo.evaluate(model, (pictures, answers[:2]))


def test_an_answer_is_shown_by_the_share_of_each_class(model: zoo.Model) -> None:
    scores = torch.zeros(3, 2, 4)
    scores[2] = 1.0
    scores[0, 0, :2] = 5.0
    shown = Regions(model, scores)
    assert shown.classes.tolist() == [[0, 0, 2, 2], [2, 2, 2, 2]]
    assert shown.to_json() == {"classes": [{"label": "class 2", "share": 0.75}, {"label": "class 0", "share": 0.25}]}
    model.labels = ("sky", "road", "car")
    assert list(shown.lines()) == [" 75.00%  car", " 25.00%  sky"]


@pytest.mark.parametrize("name", sorted(set(zoo.list_models(task="image-segmentation")) & set(registry.MODELS)))
def test_segmenters_take_whole_pictures(name: str) -> None:
    """So that every pixel of a picture of any shape has an answer."""
    given = registry.spec(name).pictures
    assert given.squash and given.crop == 1 and kinds.per_pixel(registry.spec(name))


def test_the_manifest_may_have_further_figures(tmp_path: Path) -> None:
    text = """["lraspp.streets"]
{values}
["lraspp.streets".metric]
name = "mIoU"
value = 68.5
dense = 68.5
dataset = "streets"
split = "validation"
examples = 101
encoding = "PNG"
sha256 = "0"
metrics = {{"pixel accuracy" = 91.25}}
"""
    texts = ("spec_name", "task", "file", "sha256", "purpose", "licence", "source", "recipe")
    values = [f'{name} = "x"' for name in texts] + [
        f"{name} = 1" for name in ("bytes", "parameters", "nonzero", "macs")
    ]
    (tmp_path / "manifest.toml").write_text(text.format(values="\n".join(values)))
    metric = manifest._read(tmp_path / "manifest.toml")["lraspp.streets"].metric
    assert (metric.name, dict(metric.metrics)) == ("mIoU", {"pixel accuracy": 91.25}) and hash(metric)
    assert "68.50% mIoU" in _measured(metric) and "pixel accuracy 91.25%" in _measured(metric)


def test_two_networks_agree_by_pixels(model: zoo.Model) -> None:
    x = torch.randn(4, 3, 24, 32)
    told = likeness(model, model, [x])
    assert told["agreement"] == 100.0 and told["inputs"] == 4
    other = zoo.build(toy_segmenter.network())
    with torch.inference_mode():
        equal = (model(x).argmax(1) == other(x).argmax(1)).double().mean()
    assert likeness(model, other, [x])["agreement"] == pytest.approx(100 * float(equal), abs=0.06)


def test_a_student_without_labels_learns_by_pixels(model: zoo.Model) -> None:
    x = torch.randn(2, 3, 24, 32)
    student = zoo.build(toy_segmenter.network())
    imitation = Imitation(student, model, Recipe(temperature=1.0, soft_weight=1.0))
    imitation.augment = None
    imitation.prepare(student)
    loss, _ = imitation.loss(student, x)
    with torch.no_grad():
        wanted, given = model(x).softmax(1), student(x).softmax(1)
    expected = (wanted * (wanted / given).log()).sum(1).mean()
    assert math.isclose(float(loss.detach()), float(expected), rel_tol=1e-3)
