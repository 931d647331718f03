"""Feature distillation: a student's maps (FitNets: Romero et al., 2015) or hidden states (TinyBERT: Jiao et al., 2020)
follow those of its teachers.

Shapes: B batch, N tokens, D width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from zoo.model.answer import counted
from zoo.model.build import Model
from zoo.train.layer_map import Pair, compared
from zoo.train.recipe import Recipe

Maps = Mapping[str, Tensor]


class Hints(nn.Module):
    """The distance of a student's maps or hidden states from its teachers', as a share of what the teachers' hold.

    Where widths differ, a 1x1 convolution or a linear layer that trains with the student brings them to the teacher's.
    It is part of checkpoints, and of no saved network. Padding does not count. A stream of tokens that blocks read
    through norms is compared behind a norm, for a few channels of it are much larger than all others.

    Args:
        student (Model): the network that trains.
        teachers (Sequence[nn.Module]): the networks that it learns from.
        recipe (Recipe): `feature_rows` names the rows; where it is empty, they are those of `layer_map.compared`.
            `seed` is that of the regressors.

    Attributes:
        taps (tuple[str, ...]): the student's rows that are compared.
        teacher_taps (tuple[tuple[str, ...], ...]): for each teacher, the rows that they are compared with, in order.

    Raises:
        ValueError: a network has no such row, two rows do not fit each other, or all lie in frozen rows.
    """

    def __init__(self, student: Model, teachers: Sequence[Any], recipe: Recipe) -> None:
        super().__init__()
        if not teachers:
            raise ValueError("feature_weight= needs a teacher.")
        self.spec = student.spec
        self.pairs = [compared(student, teacher, recipe.feature_rows) for teacher in teachers]
        self.taps = tuple(dict.fromkeys(one.own for pairs in self.pairs for one in pairs))
        self.teacher_taps = tuple(tuple(one.theirs for one in pairs) for pairs in self.pairs)
        frozen = {row.name for row in student.spec.rows[: recipe.freeze]}
        if frozen.issuperset(self.taps):
            raise ValueError(f"feature_weight= compares maps of frozen rows alone: {', '.join(self.taps)}.")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed)
            made = [_regressor(one) for pairs in self.pairs for one in pairs]
        self.regressors = nn.ModuleList(made).to(student.device)

    def forward(self, x: Any, own: Maps, theirs: Sequence[Maps]) -> Tensor:
        """The mean distance, a scalar: `own` maps of the student's `taps` for `x`, and `theirs` of `teacher_taps`."""
        every = [(one, maps[one.theirs]) for pairs, maps in zip(self.pairs, theirs, strict=True) for one in pairs]
        found = []
        for regressor, (pair, wanted) in zip(self.regressors, every, strict=True):
            given = regressor(_read(own[pair.own].float(), pair.norms[0]))
            mask = counted(self.spec, x, pair.own) if pair.tokens else None
            found.append(apart(given, _read(wanted.float(), pair.norms[1]), mask))
        return torch.stack(found).mean()


def apart(given: Tensor, wanted: Tensor, mask: Tensor | None = None) -> Tensor:
    """The mean squared error in shares of what is wanted, of the positions (B, N) in `mask`."""
    if mask is not None:
        given, wanted = given[mask.bool()], wanted[mask.bool()]
    return (given - wanted).square().mean() / wanted.square().mean().clamp_min(1e-12)


def called(model: Any, x: Any, taps: Sequence[str]) -> tuple[Tensor, Maps]:
    """The network's main output, and the outputs of the rows `taps`."""
    y = model(**x, **_tapping(taps)) if isinstance(x, Mapping) else model(x, **_tapping(taps))
    y, kept = y if taps else (y, {})
    return getattr(y, "answer", y), kept


def _tapping(taps: Sequence[str]) -> dict[str, Any]:
    return {"taps": taps} if taps else {}


def _read(x: Tensor, norm: str) -> Tensor:
    """Through a norm without weights."""
    width = x.shape[-1:]
    return F.layer_norm(x, width) if norm == "layer" else F.rms_norm(x, width) if norm else x


def _regressor(pair: Pair) -> nn.Module:
    channels, wanted = pair.widths
    if channels == wanted:
        return nn.Identity()
    return nn.Linear(channels, wanted) if pair.tokens else nn.Conv2d(channels, wanted, 1)
