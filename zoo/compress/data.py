"""What users hand to a pass: a tensor, or an iterable of tensors or (tensor, labels) pairs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

BATCH = 64


def as_batches(data: Any, why: str) -> list[Tensor]:
    """Batches of model inputs; a single tensor is split. Raises ValueError where there is none."""
    if isinstance(data, Tensor):
        batches = list(data.split(BATCH))
    elif isinstance(data, Iterable):
        batches = [batch[0] if isinstance(batch, (tuple, list)) else batch for batch in data]
    else:
        raise ValueError(f"{why}, as a tensor or an iterable of tensors, not {type(data).__name__}.")
    if not batches or not all(isinstance(batch, Tensor) and len(batch) for batch in batches):
        raise ValueError(f"{why}, as a tensor or an iterable of tensors.")
    if not all(torch.isfinite(batch).all() for batch in batches):
        raise ValueError("Calibration data holds values that are not finite.")
    return batches


def as_labelled_batches(data: Any, why: str) -> list[tuple[Tensor, Tensor]]:
    """Batches of (inputs, labels); a pair of tensors is split."""
    if isinstance(data, tuple) and len(data) == 2 and all(isinstance(part, Tensor) for part in data):
        data = zip(data[0].split(BATCH), data[1].split(BATCH), strict=True)
    if not isinstance(data, Iterable):
        raise ValueError(f"{why}, as (inputs, labels), not {type(data).__name__}.")
    batches = [tuple(batch) for batch in data if isinstance(batch, (tuple, list)) and len(batch) == 2]
    if not batches or not all(len(inputs) and len(inputs) == len(labels) for inputs, labels in batches):
        raise ValueError(f"{why}, as (inputs, labels) pairs of one length.")
    return batches
