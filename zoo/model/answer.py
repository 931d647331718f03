"""The main output of any network, for the input that a loader gave."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch.nn as nn
from torch import Tensor


def answer(model: nn.Module, x: Tensor | Mapping[str, Tensor]) -> Any:
    """The model's main output: of a language model, which takes its inputs by name, the last one that it has."""
    y = model(**x) if isinstance(x, Mapping) else model(x)
    return getattr(y, "answer", y)


def to_device(x: Tensor | Mapping[str, Tensor], device: Any) -> Any:
    """The input on a device."""
    return {name: part.to(device) for name, part in x.items()} if isinstance(x, Mapping) else x.to(device)
