"""Teachers of a student: one, or the mean of several. Each gets pictures in its own normalisation, and equal rows."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn as nn
from torch import Tensor

from zoo import kinds
from zoo.model.build import Model
from zoo.spec import Input


class Ensemble(nn.Module):
    """The mean of the members' logits (B, K), for inputs in the normalisation of `input`."""

    def __init__(self, members: Sequence[Model], input: Input) -> None:  # noqa: A002
        super().__init__()
        classes = {member.spec.name: kinds.classes(member.spec) for member in members}
        if len(set(classes.values())) > 1:
            raise ValueError(f"Teachers must know the same classes, but they have {classes}.")
        self.members = nn.ModuleList(members)
        self.changes = [_tensors(input.changed_to(member.spec.input)) for member in members]

    def forward(self, x: Tensor) -> Tensor:
        answers = []
        for member, change in zip(self.members, self.changes, strict=True):
            factor, offset = (part.to(x.device) for part in change)
            answers.append(member(x if _is_identity(change) else x * factor + offset).float())
        return torch.stack(answers).mean(0)


def _tensors(change: tuple[tuple[float, ...], tuple[float, ...]]) -> tuple[Tensor, Tensor]:
    """(factor, offset), each (C, 1, 1)."""
    factor, offset = (torch.tensor(part).view(-1, 1, 1) for part in change)
    return factor, offset


def _is_identity(change: tuple[Tensor, Tensor]) -> bool:
    factor, offset = change
    return bool((factor == 1).all()) and bool((offset == 0).all())
