"""Rows of unequal length in one tensor, and an order in which the rows of a batch are of like length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

WINDOW = 50  # batches whose rows are sorted by length together: little of a batch is padding, and order stays random


@dataclass(frozen=True)
class Ragged:
    """N rows, one behind another.

    Args:
        values (Tensor): all rows, (sum of lengths,).
        starts (Tensor): where each row begins, and the end, (N + 1,).
    """

    values: Tensor
    starts: Tensor

    @staticmethod
    def of(rows: Sequence[Sequence[int]]) -> Ragged:
        lengths = torch.tensor([0, *map(len, rows)])
        return Ragged(torch.tensor([one for row in rows for one in row], dtype=torch.int32), lengths.cumsum(0))

    @property
    def lengths(self) -> Tensor:
        """The length of every row (N,)."""
        return self.starts.diff()

    def rows(self, index: Tensor) -> list[Tensor]:
        return [self.values[self.starts[i] : self.starts[i + 1]] for i in index.tolist()]

    def take(self, index: Tensor) -> Ragged:
        lengths = torch.cat([self.starts.new_zeros(1), self.lengths[index]])
        return Ragged(torch.cat([self.values[:0], *self.rows(index)]), lengths.cumsum(0))

    def behind(self, other: Ragged) -> Ragged:
        """The rows of `other`, and then these."""
        starts = torch.cat([other.starts, other.starts[-1] + self.starts[1:]])
        return Ragged(torch.cat([other.values, self.values]), starts)

    def padded(self, index: Tensor, filler: int) -> Tensor:
        """The rows of `index`, with `filler` behind the shorter ones, int64 (B, T)."""
        rows = [row.long() for row in self.rows(index)]
        return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=filler)


def by_length(lengths: Tensor, batch: int, generator: torch.Generator) -> Tensor:
    """The numbers of all rows (N,) in a random order of batches, each of rows of like length; a short batch is last."""
    order = torch.randperm(len(lengths), generator=generator)
    batches: list[Tensor] = []
    for window in order.split(WINDOW * batch):
        batches += window[lengths[window].argsort(stable=True)].split(batch)
    full = [one for one in batches if len(one) == batch]
    shuffled = [full[i] for i in torch.randperm(len(full), generator=generator).tolist()]
    return torch.cat([*shuffled, *(one for one in batches if len(one) < batch)])
