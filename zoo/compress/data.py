"""What users hand to a pass: a tensor, a dict of tensors (text), or an iterable of such, or of (inputs, labels)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from zoo.build import Model

BATCH = 64

Batch = Tensor | Mapping[str, Tensor]  # pictures or token ids, or what `zoo.preprocess` makes of texts


def as_batches(data: Any, why: str) -> list[Any]:
    """Batches of model inputs; a single one is split. Raises ValueError where there is none."""
    if isinstance(data, (Tensor, Mapping)):
        batches = _split(data)
    elif isinstance(data, Iterable):
        batches = [batch[0] if isinstance(batch, (tuple, list)) else batch for batch in data]
    else:
        raise ValueError(f"{why}, as a tensor or an iterable of tensors, not {type(data).__name__}.")
    if not batches or not all(_is_batch(batch) and count(batch) for batch in batches):
        raise ValueError(f"{why}, as a tensor or an iterable of tensors.")
    if not all(torch.isfinite(part).all() for batch in batches for part in _tensors(batch)):
        raise ValueError("Calibration data holds values that are not finite.")
    return batches


def as_labelled_batches(data: Any, why: str) -> list[tuple[Any, Tensor]]:
    """Batches of (inputs, labels); a single pair is split."""
    if isinstance(data, tuple) and len(data) == 2 and _is_batch(data[0]) and isinstance(data[1], Tensor):
        data = zip(_split(data[0]), data[1].split(BATCH), strict=True)
    if not isinstance(data, Iterable):
        raise ValueError(f"{why}, as (inputs, labels), not {type(data).__name__}.")
    batches = [tuple(batch) for batch in data if isinstance(batch, (tuple, list)) and len(batch) == 2]
    if not batches or not all(count(inputs) and count(inputs) == len(labels) for inputs, labels in batches):
        raise ValueError(f"{why}, as (inputs, labels) pairs of one length.")
    return batches


def count(batch: Batch) -> int:
    """How many examples it has."""
    return len(_tensors(batch)[0])


def answer(model: Model, batch: Batch) -> Tensor:
    """The model's main output, of a language model too."""
    y = model(**batch) if isinstance(batch, Mapping) else model(batch)
    return y if isinstance(y, Tensor) else y.answer


def _split(data: Batch) -> list[Any]:
    if isinstance(data, Tensor):
        return list(data.split(BATCH))
    parts = {key: value.split(BATCH) for key, value in data.items()}
    return [dict(zip(parts, batch, strict=True)) for batch in zip(*parts.values(), strict=True)]


def _is_batch(data: Any) -> bool:
    if isinstance(data, Mapping):
        return bool(data) and all(isinstance(value, Tensor) for value in data.values())
    return isinstance(data, Tensor)


def _tensors(batch: Batch) -> list[Tensor]:
    return list(batch.values()) if isinstance(batch, Mapping) else [batch]
