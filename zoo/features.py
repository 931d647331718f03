"""The trunk of a network as a backbone: one map a level, of dense and compressed networks alike."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from zoo import kinds
from zoo.build import Model


@dataclass(frozen=True)
class FeatureInfo:
    """All levels of the network, and the `out_indices` of those that are given; read as timm's.

    A method without `idx` tells of the levels given; with an index, or a list of them, of those of all levels.
    """

    levels: tuple[kinds.Level, ...]
    out_indices: tuple[int, ...]

    def channels(self, idx: int | Sequence[int] | None = None) -> Any:
        return self._read("channels", idx)

    def reduction(self, idx: int | Sequence[int] | None = None) -> Any:
        return self._read("reduction", idx)

    def module_name(self, idx: int | Sequence[int] | None = None) -> Any:
        return self._read("row", idx)

    def _read(self, key: str, idx: int | Sequence[int] | None) -> Any:
        if isinstance(idx, int):
            return getattr(self.levels[idx], key)
        return [getattr(self.levels[i], key) for i in (self.out_indices if idx is None else idx)]


class Features(Model):
    """The rows of `whole` up to the last level wanted, with its tensors, not copies, under the same keys.

    `out_indices` are indices of `kinds.levels`, negative ones from the end, or the number of the last levels; None
    wants all. `whole.load_state_dict(features.state_dict(), strict=False)` carries what was learnt back.

    Raises ValueError for indices that are out of range, given twice or none, and for a network without maps.
    """

    def __init__(self, whole: Model, out_indices: int | Iterable[int] | None = None) -> None:
        levels = kinds.levels(whole.spec)
        if not levels:
            raise ValueError(f"{whole.spec.name} has no maps before its pooling, so it has no features to give.")
        chosen = _chosen(len(levels), out_indices, whole.spec.name)
        with torch.device("meta"):
            super().__init__(whole.spec.upto(levels[max(chosen)].row))
        own, state = self.state_dict(), whole.state_dict()
        self.load_state_dict({key: state[key] for key in own}, assign=True)
        self.feature_info = FeatureInfo(levels, chosen)
        self.made = whole.made
        self.train(whole.training)

    def forward(self, x: Tensor, *, taps: Iterable[str] = ()) -> Any:
        """(B, channels, H, W) to one float map a level, (B, C, ceil(H / reduction), ceil(W / reduction)), in a list.

        With `taps`, to (that list, {row name: that row's output}).
        """
        taps, rows = tuple(taps), self.feature_info.module_name()
        _, kept = super().forward(x, taps=(*rows, *taps))
        maps = [kept[row] for row in rows]
        return (maps, {tap: kept[tap] for tap in taps}) if taps else maps


def _chosen(count: int, out_indices: int | Iterable[int] | None, name: str) -> tuple[int, ...]:
    """The indices, each from 0 to count - 1, in the order given."""
    if out_indices is None:
        return tuple(range(count))
    given: tuple[Any, ...] = ()
    if isinstance(out_indices, int) and not isinstance(out_indices, bool):
        given = tuple(range(-min(out_indices, count + 1), 0))
    elif isinstance(out_indices, Iterable):
        given = tuple(out_indices)
    if not given or not all(isinstance(i, int) and not isinstance(i, bool) for i in given):
        raise ValueError(f"out_indices is a list of levels, or the number of the last ones, not {out_indices!r}.")
    if not all(-count <= i < count for i in given):
        raise ValueError(
            f"{name} has {count} levels, so out_indices go from 0 to {count - 1}, or from -{count} to -1 from the end, "
            f"or are the number of the last ones; {out_indices!r} is out of range."
        )
    chosen = tuple(i % count for i in given)
    if len(set(chosen)) < len(chosen):
        raise ValueError(f"out_indices {given} name one of the {count} levels of {name} twice.")
    return chosen
