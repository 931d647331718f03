"""Teachers of a student: one, or the mean of several. Each gets the student's inputs in its own form."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn as nn
from torch import Tensor

from zoo import kinds
from zoo.model.build import Model
from zoo.train.hints import Maps, called


class Ensemble(nn.Module):
    """The mean of the members' logits (B, K), for inputs of `student`: pictures in its normalisation, rows in its
    numbers.
    """

    def __init__(self, members: Sequence[Model], student: Model) -> None:
        super().__init__()
        classes = {member.spec.name: kinds.classes(member.spec) for member in members}
        if len(set(classes.values())) > 1:
            raise ValueError(f"Teachers must know the same classes, but they have {classes}.")
        self.members = nn.ModuleList(members)
        translation = student.spec.input.fetch("translation")
        self.translations: list[Callable[[Any], Any]] = [translation(student, member) for member in members]

    def forward(self, x: Any) -> Tensor:
        return self.with_maps(x, [()] * len(self.members))[0]

    def with_maps(self, x: Any, taps: Sequence[Sequence[str]]) -> tuple[Tensor, list[Maps]]:
        """The mean logits, and for each member the maps of its rows `taps`."""
        triples = zip(self.members, self.translations, taps, strict=True)
        answers = [called(member, translated(x), rows) for member, translated, rows in triples]
        return torch.stack([logits.float() for logits, _ in answers]).mean(0), [maps for _, maps in answers]


def same_inputs(student: Model, teacher: Model) -> Callable[[Tensor], Tensor]:
    """Nothing changes; raises ValueError for networks that take other inputs."""
    ours, theirs = student.spec.input, teacher.spec.input
    if ours != theirs:
        raise ValueError(f"A teacher takes other {theirs.unit} ({theirs.brief}) than the student ({ours.brief}).")
    return lambda x: x


def same_tokens(student: Model, teacher: Model) -> Callable[[Any], Any]:
    """Nothing changes; raises ValueError for networks whose tokens differ, or a teacher that takes shorter texts."""
    ours, theirs = student.spec.texts, teacher.spec.texts
    if ours.vocabulary != theirs.vocabulary or student.tokenizer != teacher.tokenizer:
        raise ValueError(
            f"A teacher reads other tokens ({theirs.vocabulary:,} of them) than the student ({ours.vocabulary:,}): "
            "both need the same tokenizer."
        )
    if theirs.length < ours.length:
        raise ValueError(f"A teacher takes texts of {theirs.length} tokens, the student of {ours.length}.")
    return lambda x: x


def renormalized(student: Model, teacher: Model) -> Callable[[Tensor], Tensor]:
    """From the student's normalisation of pictures to the teacher's."""
    given, wanted = student.spec.pictures, teacher.spec.pictures
    if given.channels != wanted.channels:
        raise ValueError(f"A teacher takes {wanted.channels} channels, the student {given.channels}.")
    if given.size != wanted.size:
        raise ValueError(f"A teacher takes pictures of {wanted.size} pixels, the student of {given.size}.")
    mean, std, new_mean, new_std = (torch.tensor(v) for v in (given.mean, given.std, wanted.mean, wanted.std))
    factor, offset = (std / new_std).view(-1, 1, 1), ((mean - new_mean) / new_std).view(-1, 1, 1)
    if bool((factor == 1).all()) and bool((offset == 0).all()):
        return lambda x: x
    return lambda x: x * factor.to(x.device) + offset.to(x.device)
