"""Feature distillation: a student's hidden maps follow those of its teachers (FitNets: Romero et al., 2015)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn as nn
from torch import Tensor

from zoo import kinds
from zoo.model.answer import answer
from zoo.model.build import Model
from zoo.train.recipe import Recipe

Maps = Mapping[str, Tensor]


class Hints(nn.Module):
    """The distance of a student's maps from its teachers', as a share of what the teachers' maps hold.

    Where the channels differ, a 1x1 convolution that trains with the student brings its map to the teacher's width. It
    is part of checkpoints, and of no saved network.

    Args:
        student (Model): the network that trains.
        teachers (Sequence[nn.Module]): the networks that it learns from.
        recipe (Recipe): `feature_rows` names the maps; where it is empty, they are the last map of every resolution
            that both networks have. `seed` is that of the convolutions.

    Attributes:
        taps (tuple[str, ...]): the student's rows whose maps are compared.
        teacher_taps (tuple[tuple[str, ...], ...]): for each teacher, the rows that they are compared with, in order.

    Raises:
        ValueError: a network has no such map, two maps have different sizes, or all maps lie in frozen rows.
    """

    def __init__(self, student: Model, teachers: Sequence[Any], recipe: Recipe) -> None:
        super().__init__()
        if not teachers:
            raise ValueError("feature_weight= needs a teacher.")
        pairs = [_pairs(student, teacher, recipe.feature_rows) for teacher in teachers]
        self.own = [tuple(row for row, _ in one) for one in pairs]
        self.taps = tuple(dict.fromkeys(row for rows in self.own for row in rows))
        self.teacher_taps = tuple(tuple(row for _, row in one) for one in pairs)
        frozen = {row.name for row in student.spec.rows[: recipe.freeze]}
        if frozen.issuperset(self.taps):
            raise ValueError(f"feature_weight= compares maps of frozen rows alone: {', '.join(self.taps)}.")
        shapes = _shapes(student, student)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed)
            made = [
                _regressor(shapes[row][0], _shapes(teacher, student)[other][0])
                for teacher, one in zip(teachers, pairs, strict=True)
                for row, other in one
            ]
        self.regressors = nn.ModuleList(made).to(student.device)

    def forward(self, own: Maps, theirs: Sequence[Maps]) -> Tensor:
        """The mean distance, a scalar: `own` maps of the student's `taps`, and `theirs` of `teacher_taps`."""
        wanted = [maps[row].float() for rows, maps in zip(self.teacher_taps, theirs, strict=True) for row in rows]
        given = [own[row].float() for rows in self.own for row in rows]
        triples = zip(self.regressors, given, wanted, strict=True)
        return torch.stack([apart(regressor(one), other) for regressor, one, other in triples]).mean()


def hints(student: Model, teacher: nn.Module | None, recipe: Recipe) -> Hints | None:
    """Those of a recipe with a `feature_weight`; of a teacher alone, or of the members of an `Ensemble`."""
    if not recipe.feature_weight:
        return None
    return Hints(student, list(getattr(teacher, "members", [teacher] if teacher is not None else [])), recipe)


def apart(given: Tensor, wanted: Tensor) -> Tensor:
    """The mean squared error in shares of what is wanted."""
    return (given - wanted).square().mean() / wanted.square().mean().clamp_min(1e-12)


def called(model: Any, x: Any, taps: Sequence[str]) -> tuple[Tensor, Maps]:
    """The network's answer, and the maps of the rows `taps`."""
    return model(x, taps=taps) if taps else (answer(model, x), {})


def _regressor(channels: int, wanted: int) -> nn.Module:
    return nn.Identity() if channels == wanted else nn.Conv2d(channels, wanted, 1)


def _pairs(student: Model, teacher: nn.Module, named: str) -> list[tuple[str, str]]:
    """(student's row, teacher's row) of every map that is compared."""
    if not isinstance(teacher, Model):
        raise ValueError(f"feature_weight= compares maps of rows, and the teacher is no zoo model: {type(teacher)}.")
    if named:
        return [_named(one, student, teacher) for one in named.split(",")]
    own, theirs = (_chosen(one, student) for one in (student, teacher))
    if shared := [(row, theirs[size]) for size, row in own.items() if size in theirs]:
        return shared
    sizes = [", ".join(f"{height}x{width}" for height, width in one) for one in (own, theirs)]
    raise ValueError(
        f"feature_weight=: {student.spec.name} has maps of {sizes[0]} and {teacher.spec.name} of {sizes[1]}, none of "
        "one size."
    )


def _named(pair: str, student: Model, teacher: Model) -> tuple[str, str]:
    """Of "row", or of "student's row=teacher's row"."""
    own, _, other = (part.strip() for part in pair.partition("="))
    other = other or own
    found = []
    for model, row in ((student, own), (teacher, other)):
        shapes = _shapes(model, student)
        if row not in shapes:
            most = ", ".join([name for name, shape in shapes.items() if len(shape) == 3][:40])
            raise ValueError(f"feature_rows=: {model.spec.name} has no row {row!r}. Rows with a map: {most or 'none'}.")
        if len(shapes[row]) != 3:
            raise ValueError(f"feature_rows=: row {row!r} of {model.spec.name} gives no map (channels, height, width).")
        found.append(shapes[row])
    if found[0][1:] != found[1][1:]:
        sizes = [f"{shape[1]}x{shape[2]}" for shape in found]
        raise ValueError(
            f"feature_rows=: the maps of {own!r} ({sizes[0]}) and {other!r} of the teacher ({sizes[1]}) differ in size."
        )
    return own, other


def _chosen(model: Model, student: Model) -> dict[tuple[int, ...], str]:
    """Height and width -> the row that gives the last map of that size; where the head reads one, that."""
    shapes, levels = _shapes(model, student), kinds.levels(model.spec)
    if not levels:
        raise ValueError(f"feature_weight= compares maps (channels, height, width), and {model.spec.name} has none.")
    read = [tap for tap in model.spec.rows[-1].taps if len(shapes.get(tap, ())) == 3]
    return {shapes[row][1:]: row for row in [*(level.row for level in levels), *read]}


def _shapes(model: Model, student: Model) -> dict[str, tuple[int, ...]]:
    """Row -> the shape of its output, for the student's pictures."""
    given = model.spec.input
    if given.type != "image":
        raise ValueError(f"feature_weight= compares maps of pictures, and {model.spec.name} takes {given.unit}.")
    shapes = kinds.row_shapes(model.spec, student.spec.pictures.size)
    return {row.name: tuple(shape) for row, shape in zip(model.spec, shapes, strict=True)}
