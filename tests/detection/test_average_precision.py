"""COCO's average precision, against a plain count over all thresholds."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from zoo.tasks.detection import AveragePrecision

Boxes = dict[str, np.ndarray]


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    sides = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    shared = float(sides.clip(0).prod())
    return shared / (float((one[2:] - one[:2]).prod() + (other[2:] - other[:2]).prod()) - shared)


def precision_at(found: list[Boxes], truth: list[Boxes], label: int, threshold: float) -> float:
    """Each detection, the surest first, takes the best object that is free; precision at 101 recalls."""
    every = [
        (score, picture, box)
        for picture, one in enumerate(found)
        for box, score, kind in zip(one["boxes"], one["scores"], one["labels"], strict=True)
        if kind == label
    ]
    every.sort(key=lambda one: -one[0])
    free = [[box for box, kind in zip(one["boxes"], one["labels"], strict=True) if kind == label] for one in truth]
    objects = sum(map(len, free))
    hits = []
    for _, picture, box in every:
        overlaps = [overlap(box, other) for other in free[picture]]
        best = int(np.argmax(overlaps)) if overlaps else -1
        hits.append(best >= 0 and overlaps[best] >= threshold)
        if hits[-1]:
            free[picture].pop(best)
    right = np.cumsum(hits)
    recall, precision = right / objects, right / np.arange(1, len(hits) + 1)
    return float(np.mean([max(precision[recall >= at - 1e-12], default=0.0) for at in np.linspace(0, 1, 101)]))


def scenes(seed: int) -> tuple[list[Boxes], list[Boxes]]:
    """(what is found, what is there) in six pictures: shifted boxes, missed ones, and ones of nothing."""
    chance = np.random.default_rng(seed)
    found, truth = [], []
    for _ in range(6):
        count = int(chance.integers(1, 6))
        corner = chance.uniform(0, 200, (count, 2))
        boxes = np.concatenate([corner, corner + chance.uniform(30, 90, (count, 2))], 1)
        labels = chance.integers(0, 3, count)
        truth.append({"boxes": boxes, "labels": labels})
        seen = chance.random(count) < 0.8
        shifted = boxes[seen] + chance.normal(0, 5, (int(seen.sum()), 4))
        other = chance.uniform(0, 150, (2, 2))
        noise = np.concatenate([other, other + 40], 1)
        named = np.concatenate([labels[seen], chance.integers(0, 3, 2)])
        scores = chance.random(len(named))
        found.append({"boxes": np.concatenate([shifted, noise]), "labels": named, "scores": scores})
    return found, truth


@pytest.mark.parametrize("seed", range(3))
def test_figures_are_those_of_a_plain_count(seed: int) -> None:
    pytest.importorskip("pycocotools")
    found, truth = scenes(seed)
    judge = AveragePrecision("AP", "the test")
    judge.add([{key: torch.from_numpy(value) for key, value in one.items()} for one in found[:2]], truth[:2])
    judge.add(found[2:], truth[2:])
    labels = sorted({int(label) for one in truth for label in one["labels"]})
    thresholds = np.linspace(0.5, 0.95, 10)
    each = {label: [precision_at(found, truth, label, at) for at in thresholds] for label in labels}
    figures = judge.figures()
    assert list(figures) == ["AP", "AP50"]
    assert figures["AP"] == pytest.approx(100 * np.mean(list(each.values())), abs=1e-6)
    assert figures["AP50"] == pytest.approx(100 * np.mean([one[0] for one in each.values()]), abs=1e-6)
    assert judge.per_class() == pytest.approx({label: 100 * np.mean(one) for label, one in each.items()}, abs=1e-6)
    assert 5 < figures["AP"] < figures["AP50"] < 95

    stretched = AveragePrecision("AP", "the test")
    factors = np.array([3.0, 0.5, 3.0, 0.5])
    stretched.add(*([{**one, "boxes": one["boxes"] * factors} for one in every] for every in (found, truth)))
    assert stretched.figures() == pytest.approx(figures)


def test_nothing_found_and_nothing_there() -> None:
    pytest.importorskip("pycocotools")
    empty = {"boxes": np.zeros((0, 4)), "scores": np.zeros(0), "labels": np.zeros(0, int)}
    judge = AveragePrecision("AP", "cells")
    judge.add([empty], [{"boxes": np.zeros((0, 4)), "labels": np.zeros(0, int)}])
    with pytest.raises(ValueError, match="cells has no picture with an object, so there is no AP"):
        judge.figures()
    judge.add([empty], [{"boxes": np.array([[0, 0, 9, 9.0]]), "labels": np.array([1])}])
    assert judge.figures() == {"AP": 0.0, "AP50": 0.0} and judge.per_class() == {1: 0.0}
    judge.add(
        [{"boxes": np.array([[0, 0, 9, 9.0]]), "scores": [0.5], "labels": [1]}],
        [{"boxes": [[0, 0, 9, 9]], "labels": [1]}],
    )
    assert 40 < judge.figures()["AP50"] < 60
