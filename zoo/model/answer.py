"""The main output of any network, for the input that a loader gave, and which of its positions count."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch.nn as nn
from torch import Tensor

from zoo import kinds
from zoo.spec import ModelSpec


def answer(model: nn.Module, x: Tensor | Mapping[str, Tensor]) -> Any:
    """The model's main output: of a language model, which takes its inputs by name, the last one that it has."""
    y = model(**x) if isinstance(x, Mapping) else model(x)
    return getattr(y, "answer", y)


def to_device(x: Tensor | Mapping[str, Tensor], device: Any) -> Any:
    """The input on a device."""
    return {name: part.to(device) for name, part in x.items()} if isinstance(x, Mapping) else x.to(device)


def counted(spec: ModelSpec, x: Any, row: str = "") -> Tensor | None:
    """The positions of a row's output that are no padding, (B, N); of the last row's without a name. None: all of them.

    A decoder behind an encoder has those of the targets.
    """
    if not isinstance(x, Mapping):
        return None
    parts = kinds.parts(spec)
    behind = len(parts) > 1 and (not row or any(one.name == row for one in parts[1]))
    return x.get("decoder_attention_mask" if behind and "decoder_input_ids" in x else "attention_mask")
