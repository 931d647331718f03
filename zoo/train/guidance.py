"""What a student learns from inside of its teachers, beside their answers: maps, hidden states, attention."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch.nn as nn
from torch import Tensor

from zoo.model.build import Model
from zoo.train.hints import Hints, Maps
from zoo.train.recipe import Recipe
from zoo.train.relations import Relations


class Guidance(nn.Module):
    """`Hints` and `Relations`, each with the recipe's weight; what trains beside the student is in checkpoints alone.

    Attributes:
        taps (tuple[str, ...]): the student's rows whose outputs are read.
        teacher_taps (tuple[tuple[str, ...], ...]): those of each teacher.
    """

    def __init__(self, student: Model, teachers: Sequence[Any], recipe: Recipe) -> None:
        super().__init__()
        self.weights = recipe.feature_weight, recipe.attention_weight
        self.hints = Hints(student, teachers, recipe) if recipe.feature_weight else None
        self.relations = Relations(student, teachers, recipe) if recipe.attention_weight else None
        used = [one for one in (self.hints, self.relations) if one is not None]
        self.taps = _union(one.taps for one in used)
        self.teacher_taps = tuple(map(_union, zip(*(one.teacher_taps for one in used), strict=True)))

    def forward(self, student: Model, x: Any, own: Maps, theirs: Sequence[Maps]) -> Tensor:
        """The weighted sum, a scalar: `own` outputs of the student's `taps` for `x`, and `theirs` of `teacher_taps`."""
        parts: list[Any] = []
        if self.hints is not None:
            parts.append(self.weights[0] * self.hints(x, own, theirs))
        if self.relations is not None:
            parts.append(self.weights[1] * self.relations(student, x, own, theirs))
        return sum(parts)  # type: ignore[return-value]


def guidance(student: Model, teacher: nn.Module | None, recipe: Recipe) -> Guidance | None:
    """That of a recipe with weights for it; of a teacher alone, or of the members of an `Ensemble`."""
    if not (recipe.feature_weight or recipe.attention_weight):
        return None
    return Guidance(student, list(getattr(teacher, "members", [teacher] if teacher is not None else [])), recipe)


def _union(names: Any) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for some in names for name in some))
