"""Calibration inputs that layers are solved on: which of them count, and which are left out to judge the result."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from zoo.passes.data import Batch, count
from zoo.spec import ModelSpec

FEW = 16  # inputs below which a warning says that they are few


def distinct(batches: Sequence[Batch], spec: ModelSpec, advice: str) -> list[Batch]:
    """The inputs without copies of others; a warning says how many were left out, or that few are left.

    Raises ValueError for inputs of a size that the network was not made for: what is solved on them suits them alone.
    """
    usual = spec.input.shape()
    seen: set[bytes] = set()
    kept: list[Batch] = []
    total = sum(map(count, batches))
    for batch in batches:
        if isinstance(batch, Tensor) and not spec.input.ragged and tuple(batch.shape[1:]) != usual:
            sizes = ["x".join(map(str, shape)) for shape in (batch.shape[1:], usual)]
            raise ValueError(
                f"A calibration input is {sizes[0]}, and {spec.name} was made for {sizes[1]}: "
                "zoo.preprocess(model) makes such inputs."
            )
        new = [place for place in range(count(batch)) if not _known(batch, place, seen)]
        if new:
            kept.append(batch if len(new) == count(batch) else rows(batch, new))
    if len(seen) < total:
        warnings.warn(
            f"{total - len(seen)} of {total} calibration inputs are copies of others, and are left out.",
            UserWarning,
            stacklevel=4,
        )
    if len(seen) < FEW:
        warnings.warn(
            f"Solved on {len(seen)} calibration input{'s' * (len(seen) > 1)} alone, which fits them and few others: "
            f"give {advice}.",
            UserWarning,
            stacklevel=4,
        )
    return kept


def sides(parts: Sequence[Batch]) -> tuple[list[Batch], list[Batch]]:
    """(three quarters of the parts, every fourth): a network solved on the first is judged on the others.

    A single part is on both sides.
    """
    if len(parts) < 4:
        return list(parts[:-1] or parts), list(parts[-1:])
    return [part for place, part in enumerate(parts) if place % 4 != 3], list(parts[3::4])


def spread(batches: Sequence[Batch], most: int) -> list[Batch]:
    """`most` of the inputs at even distances, so that data sorted by class gives all classes; all, where fewer."""
    total = sum(map(count, batches))
    if total <= most:
        return list(batches)
    wanted = torch.linspace(0, total - 1, most, dtype=torch.float64).round().long()
    picked, begin = [], 0
    for batch in batches:
        here = wanted[(wanted >= begin) & (wanted < begin + count(batch))] - begin
        begin += count(batch)
        if len(here):
            picked.append(rows(batch, here.tolist()))
    return picked


def rows(batch: Batch, places: Sequence[int] | slice) -> Batch:
    """Some of the inputs of a batch."""
    at = places if isinstance(places, slice) else torch.tensor(places)
    return batch[at] if isinstance(batch, Tensor) else {name: tensor[at] for name, tensor in batch.items()}


def measured(told: Mapping[str, Any]) -> dict[str, Any]:
    """What the record of a pass says of `likeness` on inputs that were left out; their number is "held_out"."""
    return {**{name: value for name, value in told.items() if name != "inputs"}, "held_out": told["inputs"]}


def _known(batch: Batch, place: int, seen: set[bytes]) -> bool:
    """Whether that input was there before; it is noted."""
    tensors = [batch] if isinstance(batch, Tensor) else [batch[name] for name in sorted(batch)]
    digest = hashlib.blake2b(digest_size=16)
    for tensor in tensors:
        digest.update(tensor[place].detach().cpu().contiguous().numpy().tobytes())
    key = digest.digest()
    known = key in seen
    seen.add(key)
    return known
