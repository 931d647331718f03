"""Optimal Brain Surgeon for whole channels: one after another leaves, and the rest is solved again (Hassibi and Stork,
1993; Frantar and Alistarh, 2022)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from zoo.passes.gram import Gram, cholesky_solve

RIDGE = 1e-3  # of the variance of each of a layer's inputs
NEXT_TO_NONE = 1e-8  # of the mean variance: a channel with less is constant
FEW = 0.1  # more of it for each column that there is a position: few positions say little of many columns
WIDER = 4  # times as many candidates as channels that leave together


@dataclass(frozen=True)
class Curve:
    """`order` has the channels that leave, first ones first; `damage[k]` is the squared error when k of them have.

    The error is a share of the variance of what the readers give, summed over the readers.
    """

    order: list[int]
    damage: list[float]


class Reading:
    """What one reader of a group would lose with each channel, while channels leave.

    `weight` (C * entries + 1, O) are its folded weights, the bias last; `gram` is of what it takes. The group's first
    channel is its channel `first`.
    """

    def __init__(self, gram: Gram, weight: Tensor, entries: int, first: int = 0) -> None:
        system = gram.xx / gram.count
        centred = system[:-1, :-1] - system[:-1, -1:] * system[-1:, :-1]
        ridge = RIDGE + FEW * len(system) / gram.count
        own = centred.diagonal()
        own = own.clamp_min(NEXT_TO_NONE * max(float(own.mean()), 1e-12))
        self.system = system + torch.diag(torch.cat([ridge * own, own.new_full((1,), 1e-12)]))
        self.start = weight
        self.entries, self.first = entries, first
        variance = float((weight[:-1] * (centred @ weight[:-1])).sum())
        self.scale = max(variance, 1e-30) ** -0.5
        self.weight = weight * self.scale
        eye = torch.eye(len(system), dtype=system.dtype, device=system.device)
        self.inverse = cholesky_solve(eye, self.system)

    def columns(self, channels: Tensor) -> Tensor:
        reach = torch.arange(self.entries, device=channels.device)
        return ((channels[:, None] + self.first) * self.entries + reach).flatten()

    def scores(self, channels: Tensor) -> Tensor:
        """The damage of each channel, if it were the next to leave."""
        at = self.columns(channels).view(-1, self.entries)
        blocks = self.inverse[at[:, :, None], at[:, None, :]]  # (n, entries, entries)
        weights = self.weight[at]  # (n, entries, O)
        if self.entries == 1:
            return weights.square().sum((1, 2)) / blocks[:, 0, 0].clamp_min(1e-30)
        return (weights * cholesky_solve(weights, blocks)).sum((1, 2))

    def part(self, channels: Tensor) -> Reading:
        """The same of some channels alone, for eliminations among them."""
        at = self.columns(channels)
        part = object.__new__(Reading)
        part.first = 0
        part.entries, part.inverse, part.weight = self.entries, self.inverse[at][:, at].clone(), self.weight[at].clone()
        return part

    def eliminate(self, channels: Tensor) -> None:
        at = self.columns(channels)
        across = self.inverse[:, at]
        solved = cholesky_solve(torch.cat([self.weight[at], across.T], 1), self.inverse[at][:, at])
        outputs = self.weight.shape[1]
        self.weight -= across @ solved[:, :outputs]
        self.inverse -= across @ solved[:, outputs:]

    def without(self, channels: Tensor) -> Tensor:
        """The reader's weights, solved again, with zeros for the channels that left."""
        gone = torch.zeros(len(self.start), dtype=torch.bool, device=self.start.device)
        gone[self.columns(channels)] = True
        kept = (~gone).nonzero().flatten()
        out = torch.zeros_like(self.start)
        out[kept] = cholesky_solve(self.system[kept] @ self.start, self.system[kept][:, kept])
        return out


def eliminated(readings: Sequence[Reading], size: int, most: int, step: int) -> Curve:
    """The curve of `most` of `size` channels that leave, `step` at a time; those of a step one after another."""
    alive = torch.arange(size)
    order: list[int] = []
    damage = [0.0]
    while len(order) < most:
        wanted = min(step, most - len(order))
        scores = torch.stack([reading.scores(alive) for reading in readings]).sum(0)
        candidates = alive[scores.topk(min(len(alive), WIDER * wanted), largest=False).indices]
        among = torch.arange(len(candidates))
        parts = [reading.part(candidates) for reading in readings]
        gone: list[int] = []
        for _ in range(wanted):
            losses = torch.stack([part.scores(among) for part in parts]).sum(0)
            least = int(losses.argmin())
            damage.append(damage[-1] + max(0.0, float(losses[least])))
            gone.append(int(among[least]))
            for part in parts:
                part.eliminate(among[least : least + 1])
            among = among[among != among[least]]
        leaving = candidates[gone]
        for reading in readings:
            reading.eliminate(leaving)
        order += leaving.tolist()
        alive = alive[~torch.isin(alive, leaving)]
    return Curve(order, damage)
