"""`agreement`: the share of equal answers of two networks. A low share shows that a compressed network is broken."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch

from zoo.model.build import Model

BATCH = 16


def agreement(model: Model, other: Model, batches: Iterable[Any]) -> tuple[float, int]:
    """(percent of the inputs that both networks give the same class, number of inputs).

    `batches` are preprocessed inputs: tensors of pictures, or dicts of tokens.
    """
    same: list[torch.Tensor] = []
    with torch.inference_mode():
        for batch in batches:
            same += [_classes(model, part) == _classes(other, part) for part in _parts(batch)]
    every = torch.cat([one.flatten() for one in same])
    return round(100 * float(every.float().mean()), 1), len(every)


def _classes(model: Model, inputs: Any) -> torch.Tensor:
    answer = model(**inputs).answer if isinstance(inputs, Mapping) else model(inputs)
    return answer.argmax(-1)


def _parts(batch: Any) -> Iterable[Any]:
    if not isinstance(batch, Mapping):
        return batch.split(BATCH)
    split = {name: tensor.split(BATCH) for name, tensor in batch.items()}
    return [dict(zip(split, parts, strict=True)) for parts in zip(*split.values(), strict=True)]
