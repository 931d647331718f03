"""How alike the answers of two networks are. A low share of equal ones shows that a compressed network is broken."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from zoo import tasks
from zoo.model.build import Model
from zoo.tasks.metrics import choices, percent_equal

BATCH = 16


def agreement(model: Model, other: Model, batches: Iterable[Any]) -> tuple[float, int]:
    """(percent of the inputs that both networks give the same class, number of inputs).

    `batches` are preprocessed inputs: tensors of pictures, or dicts of tokens.
    """
    found: list[tuple[np.ndarray, np.ndarray]] = []
    with torch.inference_mode():
        for batch in batches:
            found += [(_classes(model, part), _classes(other, part)) for part in _parts(batch)]
    ours, theirs = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return round(percent_equal(ours, theirs), 1), len(ours)


def likeness(model: Model, other: Model, batches: Iterable[Any]) -> dict[str, Any]:
    """What a record says of two networks' answers to `inputs` inputs, as JSON.

    "agreement" is the percent of them that get the same class, and "interval" its 95% interval by Wilson (1927).
    Networks without classes have "cosine" instead, the mean cosine of their answers.
    """
    batches = list(batches)
    if tasks.of(model.spec).chooses:
        share, count = agreement(model, other, batches)
        return {"agreement": share, "interval": list(interval(share, count)), "inputs": count}
    parts = [part for batch in batches for part in _parts(batch)]
    with torch.inference_mode():
        found = [F.cosine_similarity(_answer(model, part), _answer(other, part), dim=-1).flatten() for part in parts]
    every = torch.cat(found)
    return {"cosine": round(float(every.mean()), 4), "inputs": len(every)}


def interval(percent: float, count: int) -> tuple[float, float]:
    """Between which percents the true share lies, with 95% certainty, where `percent` of `count` were counted."""
    share, square = percent / 100, 1.96**2
    middle = (share + square / (2 * count)) / (1 + square / count)
    reach = 1.96 * math.sqrt(share * (1 - share) / count + square / (4 * count**2)) / (1 + square / count)
    return round(100 * max(0.0, middle - reach), 1), round(100 * min(1.0, middle + reach), 1)


def _classes(model: Model, inputs: Any) -> np.ndarray:
    return choices(_answer(model, inputs)).flatten()


def _answer(model: Model, inputs: Any) -> torch.Tensor:
    y = model(**inputs) if isinstance(inputs, Mapping) else model(inputs)
    return y if isinstance(y, torch.Tensor) else y.answer


def _parts(batch: Any) -> Iterable[Any]:
    if not isinstance(batch, Mapping):
        return batch.split(BATCH)
    split = {name: tensor.split(BATCH) for name, tensor in batch.items()}
    return [dict(zip(split, parts, strict=True)) for parts in zip(*split.values(), strict=True)]
