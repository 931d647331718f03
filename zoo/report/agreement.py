"""How alike the answers of two networks are. A low share of equal ones shows that a compressed network is broken."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from zoo import tasks
from zoo.model.answer import answer
from zoo.model.build import Model
from zoo.passes.data import split
from zoo.tasks.metrics import choices, percent_equal

BATCH = 16


def agreement(model: Model, other: Model, batches: Iterable[Any]) -> tuple[float, int]:
    """(percent of the inputs that both networks give the same class, number of inputs).

    `batches` are preprocessed inputs: tensors of pictures, or dicts of tokens.
    """
    return _equal(tasks.of(model.spec), _pairs(model, other, batches))


def likeness(model: Model, other: Model, batches: Iterable[Any]) -> dict[str, Any]:
    """What a record says of two networks' answers to `inputs` inputs, as JSON.

    "agreement" is the percent of them that get the same class, and "interval" its 95% interval by Wilson (1927).
    Networks without classes have "cosine" instead, the mean cosine of their answers.
    """
    pairs = _pairs(model, other, batches)
    if tasks.of(model.spec).chooses:
        share, count = _equal(tasks.of(model.spec), pairs)
        return {"agreement": share, "interval": list(interval(share, count)), "inputs": count}
    every = torch.cat([F.cosine_similarity(ours, theirs, dim=-1).flatten() for ours, theirs in pairs])
    return {"cosine": round(float(every.mean()), 4), "inputs": len(every)}


def left_out(made: Mapping[str, Any]) -> dict[str, Any] | None:
    """The least agreement that the record of a pass has from inputs on which nothing was solved; None without any.

    Its keys are those of `likeness`.
    """
    passes = made.get("passes")  # any JSON: the file may come from anywhere
    found = [
        {**{name: one[name] for name in ("agreement", "interval", "cosine") if name in one}, "inputs": one["held_out"]}
        for one in (passes if isinstance(passes, list) else [])
        if isinstance(one, Mapping) and "held_out" in one
    ]
    return min(found, key=_measure) if found else None


def _measure(told: Mapping[str, Any]) -> float:
    return float(told.get("agreement", told.get("cosine", 0.0)))


def worse(one: dict[str, Any], other: dict[str, Any] | None) -> dict[str, Any]:
    """Of two results of `likeness` the one of less agreement."""
    return one if other is None or _measure(one) <= _measure(other) else other


def interval(percent: float, count: int) -> tuple[float, float]:
    """Between which percents the true share lies, with 95% certainty, where `percent` of `count` were counted."""
    share, square = percent / 100, 1.96**2
    middle = (share + square / (2 * count)) / (1 + square / count)
    reach = 1.96 * math.sqrt(share * (1 - share) / count + square / (4 * count**2)) / (1 + square / count)
    return round(100 * max(0.0, middle - reach), 1), round(100 * min(1.0, middle + reach), 1)


def _pairs(model: Model, other: Model, batches: Iterable[Any]) -> Iterator[tuple[Tensor, Tensor]]:
    """The answers of both networks, `BATCH` inputs at a time."""
    for batch in batches:
        for part in split(batch, BATCH):
            with torch.inference_mode():
                pair = answer(model, part), answer(other, part)
            yield pair


def _equal(task: tasks.Task, pairs: Iterable[tuple[Tensor, Tensor]]) -> tuple[float, int]:
    """(percent of the answers with equal classes, number of inputs)."""
    found, inputs = [], 0
    for ours, theirs in pairs:
        found.append(choices(task.scores(ours)) == choices(task.scores(theirs)))
        inputs += len(ours)
    return round(percent_equal(np.concatenate(found), True), 1), inputs
