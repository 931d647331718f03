"""Whole blocks of a Transformer that may go: those that change the stream of tokens least (Men et al., 2024)."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from zoo import kinds
from zoo.model.answer import answer
from zoo.model.build import Model
from zoo.passes.data import as_batches


def dropped_blocks(model: Model, wanted: int | tuple[str, ...], data: Any) -> list[str]:
    """Names of the rows that go, in their order: those named, or so many of the least influence on `data`.

    Raises ValueError for rows that are no Transformer blocks, for all of them, or where data is missing.
    """
    blocks = [row.name for row in model.spec if kinds.KINDS[row.kind].droppable]
    count = wanted if isinstance(wanted, int) else len(wanted)
    proper = isinstance(wanted, (int, tuple)) and not isinstance(wanted, bool)
    if not proper or not 1 <= count < len(blocks) or (isinstance(wanted, tuple) and not set(wanted) <= set(blocks)):
        raise ValueError(f"drop_blocks is names of {blocks}, or how many of them, but not all; not {wanted!r}.")
    if isinstance(wanted, tuple):
        return [name for name in blocks if name in wanted]
    if data is None:
        raise ValueError("drop_blocks as a number needs data=, inputs on which the blocks' influence is measured.")
    influence = block_influence(model, data)
    least = sorted(blocks, key=lambda name: influence[name])[:count]
    return [name for name in blocks if name in least]


def block_influence(model: Model, data: Any) -> dict[str, float]:
    """Row -> 1 less the mean cosine between what a token is before and behind the block: 0 changes nothing."""
    shift: dict[str, list[float]] = {}
    handles = []
    for row in model.spec:
        if kinds.KINDS[row.kind].droppable:
            kept = shift.setdefault(row.name, [])

            def look(module: Any, given: Any, options: Any, y: torch.Tensor, kept: list[float] = kept) -> None:
                kept.append(1 - float(F.cosine_similarity(given[0], y, dim=-1).mean()))

            handles.append(model.get_submodule(row.name).register_forward_hook(look, with_kwargs=True))
    try:
        with torch.inference_mode():
            for batch in as_batches(data, "The influence of blocks is measured on inputs", model):
                answer(model, batch)
    finally:
        for handle in handles:
            handle.remove()
    return {name: sum(values) / len(values) for name, values in shift.items()}
