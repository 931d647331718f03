"""Teachers of a student: one, or the mean of several. Each gets pictures in its own normalisation."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn as nn
from torch import Tensor

from zoo import kinds
from zoo.model.build import Model
from zoo.spec import ImageInput


class Ensemble(nn.Module):
    """The mean of the members' logits (B, K), for inputs in the normalisation of `input`."""

    def __init__(self, members: Sequence[Model], input: ImageInput) -> None:  # noqa: A002
        super().__init__()
        classes = {member.spec.name: kinds.classes(member.spec) for member in members}
        if len(set(classes.values())) > 1:
            raise ValueError(f"Teachers must know the same classes, but they have {classes}.")
        self.members = nn.ModuleList(members)
        self.changes = [_change(input, member.spec.pictures) for member in members]

    def forward(self, x: Tensor) -> Tensor:
        answers = []
        for member, change in zip(self.members, self.changes, strict=True):
            factor, offset = (part.to(x.device) for part in change)
            answers.append(member(x if _is_identity(change) else x * factor + offset).float())
        return torch.stack(answers).mean(0)


def _change(given: ImageInput, wanted: ImageInput) -> tuple[Tensor, Tensor]:
    """(factor, offset), each (C, 1, 1), that change one normalisation to another."""
    if given.channels != wanted.channels:
        raise ValueError(f"A teacher takes {wanted.channels} channels, the student {given.channels}.")
    if given.size != wanted.size:
        raise ValueError(f"A teacher takes pictures of {wanted.size} pixels, the student of {given.size}.")
    mean, std, new_mean, new_std = (torch.tensor(v) for v in (given.mean, given.std, wanted.mean, wanted.std))
    return (std / new_std).view(-1, 1, 1), ((mean - new_mean) / new_std).view(-1, 1, 1)


def _is_identity(change: tuple[Tensor, Tensor]) -> bool:
    factor, offset = change
    return bool((factor == 1).all()) and bool((offset == 0).all())
