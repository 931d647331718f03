"""Confidence intervals of a network's figures, by drawing examples again (Efron, 1979)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zoo.checks import check_whole
from zoo.tasks.metrics import Judge


def intervals(
    outputs: Tensor,
    targets: Sequence[Any],
    judge: Callable[[], Judge],
    *,
    groups: Sequence[Any] | None = None,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, tuple[float, float]]:
    """The percentile interval of every figure, over examples that are drawn with repetition.

    Args:
        outputs (Tensor): the network's main outputs (B, ...).
        targets (Sequence[Any]): the target of each example.
        judge (Callable[[], Judge]): makes what computes the figures, once for each drawing.
        groups (Sequence[Any] | None): whom each example belongs to, such as its user. Groups are drawn as a whole,
            since examples of one are alike. Default: None, each example is drawn by itself.
        resamples (int): how many times. Default: 1000.
        level (float): the share of the drawings inside of the interval, between 0 and 1. Default: 0.95.
        seed (int): the same seed gives the same intervals. Default: 0.

    Returns:
        Each figure's name, and its lower and upper end.

    Raises:
        ValueError: lengths differ, or a number is out of range.

    Example:
        >>> from zoo.tasks.metrics import Accuracy
        >>> outputs, targets = torch.tensor([[1.0, 0.0], [0.0, 1.0]]).repeat(50, 1), [0, 0] * 50
        >>> low, high = intervals(outputs, targets, lambda: Accuracy("accuracy", "here"), resamples=200)["accuracy"]
        >>> 35 < low < 50 < high < 65
        True
    """
    check_whole("resamples", resamples, 1)
    if not 0 < level < 1:
        raise ValueError(f"level= is between 0 and 1, not {level!r}.")
    if len(targets) != len(outputs) or (groups is not None and len(groups) != len(outputs)):
        raise ValueError(f"There are {len(outputs):,} outputs: targets and groups need as many.")
    told = np.asarray(targets)
    members = _members(len(outputs) if groups is None else groups)
    random = np.random.default_rng(seed)
    found: dict[str, list[float]] = {}
    for _ in range(resamples):
        drawn = random.integers(0, len(members), len(members))
        rows = np.concatenate([members[one] for one in drawn]) if groups is not None else drawn
        one = judge()
        one.add(outputs[torch.from_numpy(rows)], told[rows].tolist())
        for name, value in one.figures().items():
            found.setdefault(name, []).append(value)
    ends = ((1 - level) / 2, (1 + level) / 2)
    return {
        name: (float(low), float(high)) for name, (low, high) in ((n, np.quantile(v, ends)) for n, v in found.items())
    }


def _members(groups: Any) -> Any:
    """The rows of each group."""
    if isinstance(groups, int):
        return range(groups)
    _, places = np.unique(np.asarray(groups), return_inverse=True)
    order = np.argsort(places, kind="stable")
    return np.split(order, np.cumsum(np.bincount(places))[:-1])
