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
from zoo.model.answer import answer, counted
from zoo.model.build import Model
from zoo.passes.data import count, split
from zoo.tasks.metrics import choices, percent_equal

BATCH = 16


def agreement(model: Model, other: Model, batches: Iterable[Any]) -> tuple[float, int]:
    """(percent of the answers that both networks give, number of inputs).

    `batches` are preprocessed inputs: tensors of pictures, or dicts of tokens. Answers are classes of examples, pixels
    or tokens; of detectors they are objects (`zoo.detection.alike`), and where neither finds one, they agree.
    """
    task = tasks.of(model.spec)
    if task.alike:
        same, every, inputs = _shared(task, model, other, batches)
        return (round(100 * same / every, 1) if every else 100.0), inputs
    return _equal(task, _pairs(model, other, batches))


def likeness(model: Model, other: Model, batches: Iterable[Any]) -> dict[str, Any]:
    """What a record says of two networks' answers to `inputs` inputs, as JSON.

    "agreement" is the percent of them that get the same class, and "interval" its 95% interval by Wilson (1927). Of
    detectors it is the percent of the "objects" that both networks find. Networks without classes, and detectors that
    find nothing, have "cosine" instead, the mean cosine of their answers.
    """
    task = tasks.of(model.spec)
    if task.alike:
        batches = list(batches)
        same, every, inputs = _shared(task, model, other, batches)
        if every:
            share = round(100 * same / every, 1)
            return {"agreement": share, "interval": list(interval(share, inputs)), "inputs": inputs, "objects": every}
    pairs = _pairs(model, other, batches)
    if task.chooses:
        share, inputs = _equal(task, pairs)
        return {"agreement": share, "interval": list(interval(share, inputs)), "inputs": inputs}
    cosines = torch.cat([F.cosine_similarity(ours, theirs, dim=-1).flatten() for ours, theirs, _ in pairs])
    return {"cosine": round(float(cosines.mean()), 4), "inputs": len(cosines)}


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
    return float(told.get("agreement", 100 * told.get("cosine", 0.0)))


def worse(one: dict[str, Any], other: dict[str, Any] | None) -> dict[str, Any]:
    """Of two results of `likeness` the one of less agreement."""
    return one if other is None or _measure(one) <= _measure(other) else other


def interval(percent: float, number: int) -> tuple[float, float]:
    """Between which percents the true share lies, with 95% certainty, where `percent` of `number` were counted."""
    share, square = percent / 100, 1.96**2
    middle = (share + square / (2 * number)) / (1 + square / number)
    reach = 1.96 * math.sqrt(share * (1 - share) / number + square / (4 * number**2)) / (1 + square / number)
    return round(100 * max(0.0, middle - reach), 1), round(100 * min(1.0, middle + reach), 1)


def _pairs(model: Model, other: Model, batches: Iterable[Any]) -> Iterator[tuple[Tensor, Tensor, int]]:
    """(answers of both networks, number of inputs), `BATCH` inputs at a time; where tokens are answered for, without
    padding."""
    for batch in batches:
        for part in split(batch, BATCH):
            with torch.inference_mode():
                ours, theirs = answer(model, part), answer(other, part)
            mask = counted(model.spec, part)
            if mask is not None and ours.dim() == 3:
                ours, theirs = ours[mask.bool()], theirs[mask.bool()]
            yield ours, theirs, count(part)


def _shared(task: tasks.Task, model: Model, other: Model, batches: Iterable[Any]) -> tuple[int, int, int]:
    """(what both networks answer, all answers, number of inputs)."""
    alike, same, every, inputs = task.fetch("alike"), 0, 0, 0
    for batch in batches:
        for part in split(batch, BATCH):
            with torch.inference_mode():
                found, answers = alike(model(part), other(part))
            same, every, inputs = same + found, every + answers, inputs + count(part)
    return same, every, inputs


def _equal(task: tasks.Task, pairs: Iterable[tuple[Tensor, Tensor, int]]) -> tuple[float, int]:
    """(percent of the answers with equal classes, number of inputs)."""
    found, inputs = [], 0
    for ours, theirs, together in pairs:
        found.append(choices(task.scores(ours)) == choices(task.scores(theirs)))
        inputs += together
    return round(percent_equal(np.concatenate(found), True), 1), inputs
