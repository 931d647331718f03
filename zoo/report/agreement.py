"""`agreement`: the share of equal answers of two networks. A low share shows that a compressed network is broken."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch

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


def _classes(model: Model, inputs: Any) -> np.ndarray:
    answer = model(**inputs).answer if isinstance(inputs, Mapping) else model(inputs)
    return choices(answer).flatten()


def _parts(batch: Any) -> Iterable[Any]:
    if not isinstance(batch, Mapping):
        return batch.split(BATCH)
    split = {name: tensor.split(BATCH) for name, tensor in batch.items()}
    return [dict(zip(split, parts, strict=True)) for parts in zip(*split.values(), strict=True)]
