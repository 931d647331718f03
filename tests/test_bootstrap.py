"""Confidence intervals: as wide as the theory says, and wider where examples of one group are alike."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from zoo.report.bootstrap import intervals
from zoo.tasks.binary import BinaryMetrics
from zoo.tasks.metrics import Accuracy

ROWS = 900


def accuracy(right: np.ndarray, **options: object) -> tuple[float, float]:
    outputs = torch.tensor([[1.0, 0.0]]).repeat(len(right), 1)
    made = intervals(outputs, (~right).astype(int), lambda: Accuracy("accuracy", "here"), **options)  # type: ignore[arg-type]
    return made["accuracy"]


def test_an_interval_of_a_share_is_the_binomial_one() -> None:
    right = np.random.default_rng(0).random(ROWS) < 0.7
    share = right.mean()
    wide = 1.96 * np.sqrt(share * (1 - share) / ROWS)
    assert accuracy(right, resamples=2000) == pytest.approx((100 * (share - wide), 100 * (share + wide)), abs=0.4)
    low, high = accuracy(right, level=0.5)
    assert high - low == pytest.approx(100 * 2 * 0.674 * wide / 1.96, rel=0.15)
    assert accuracy(right, seed=3) == accuracy(right, seed=3) != accuracy(right, seed=4)


def test_groups_are_drawn_as_a_whole() -> None:
    """Of nine equal examples each, an interval is three times as wide."""
    right = np.repeat(np.random.default_rng(0).random(ROWS // 9) < 0.7, 9)
    order = np.random.default_rng(1).permutation(ROWS)
    groups = np.repeat([f"user {one}" for one in range(ROWS // 9)], 9)[order]
    (low, high), (far_low, far_high) = accuracy(right[order]), accuracy(right[order], groups=groups)
    assert (far_high - far_low) / (high - low) == pytest.approx(3, rel=0.2)


def test_every_figure_has_an_interval_around_it() -> None:
    pytest.importorskip("torchmetrics")
    logits = torch.randn(400, 1, generator=torch.Generator().manual_seed(0))
    targets = (torch.rand(400, generator=torch.Generator().manual_seed(1)) < logits[:, 0].sigmoid()).long().tolist()
    judge = BinaryMetrics("AUC", "here")
    judge.add(logits, targets)
    found = intervals(logits, targets, lambda: BinaryMetrics("AUC", "here"), resamples=100)
    assert list(found) == ["AUC", "log loss"]
    assert all(found[name][0] < value < found[name][1] for name, value in judge.figures().items())


def test_wrong_numbers_are_refused() -> None:
    right = np.ones(5, dtype=bool)
    for options, said in (({"level": 1.0}, "level="), ({"resamples": 0}, "resamples="), ({"groups": [1]}, "as many")):
        with pytest.raises(ValueError, match=said):
            accuracy(right, **options)
