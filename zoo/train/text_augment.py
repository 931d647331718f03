"""Texts changed at random for a teacher to answer: tokens masked, and texts cut to a part (Tang et al., 2019).

Shapes: B texts, T tokens in the longest of them.
"""

from __future__ import annotations

import json

import torch
from torch import Tensor

MASKS = ("[MASK]", "<mask>")


def masked(inputs: dict[str, Tensor], share: float, mask_token: int) -> dict[str, Tensor]:
    """A `share` of the tokens becomes the mask token; the first one, such as [CLS], and the last one stay."""
    ids, inner = inputs["input_ids"], _inner(inputs["attention_mask"])
    chosen = inner & (torch.rand(ids.shape) < share)
    return {**inputs, "input_ids": ids.masked_fill(chosen, mask_token)}


def sampled(inputs: dict[str, Tensor], share: float, padding: int) -> dict[str, Tensor]:
    """A `share` of the texts is cut to a run of 1 to all of its tokens, between its first and its last one."""
    lengths = inputs["attention_mask"].sum(1)
    parts = {name: part.clone() for name, part in inputs.items()}
    for row in (torch.rand(len(lengths)) < share).nonzero().flatten().tolist():
        room = int(lengths[row]) - 2
        if room < 2:
            continue
        size = int(torch.randint(1, room + 1, ()))
        start = 1 + int(torch.randint(0, room - size + 1, ()))
        kept = torch.tensor([0, *range(start, start + size), room + 1])
        for name, part in parts.items():
            row_of = inputs[name][row, kept]
            part[row] = padding if name == "input_ids" else 0
            part[row, : len(kept)] = row_of
    longest = int(parts["attention_mask"].sum(1).max())
    return {name: part[:, :longest] for name, part in parts.items()}


def mask_token(tokenizer: str) -> int:
    """The number of the mask token; raises ValueError for a tokenizer without one."""
    added = {one["content"]: one["id"] for one in json.loads(tokenizer).get("added_tokens", ())}
    found = [added[name] for name in MASKS if name in added]
    if not found:
        raise ValueError(f"token_masking= needs a tokenizer with a token {' or '.join(MASKS)}; this one has none.")
    return int(found[0])


def _inner(mask: Tensor) -> Tensor:
    """Which tokens are neither padding nor the first or the last one of their text, (B, T)."""
    place = torch.arange(mask.shape[1])
    return (place > 0) & (place < mask.sum(1, keepdim=True) - 1)
