"""Rows that one network's vocabulary has numbered, in the numbers of another: a student and its teacher see one row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from zoo.inputs.feature import KNOWN, MISSING, UNKNOWN
from zoo.model.build import Model
from zoo.spec import ModelSpec


def translation(student: Model, teacher: Model) -> Callable[[Tensor], Tensor]:
    """What makes the teacher's inputs of the student's (B, columns): a value that either does not know is unknown.

    A teacher without crosses gets none.

    Raises ValueError for networks that read other features, or that differ in more than the values that they know.
    """
    _check(student.spec, teacher.spec)
    ours, theirs = (one.vocabulary.cpu().numpy() for one in (student, teacher))  # type: ignore[operator, union-attr]
    changes: list[tuple[slice, Tensor]] = []
    for feature in student.spec.table.features:
        if not feature.keys:
            continue
        own = ours[student.spec.table.vocabulary(feature.name)]
        known = theirs[teacher.spec.table.vocabulary(feature.name)]
        if np.array_equal(own, known):
            continue
        places = np.minimum(np.searchsorted(known, own), len(known) - 1)
        rows = np.where(known[places] == own, places + KNOWN, UNKNOWN)
        columns = student.spec.table.columns(feature.name)
        changes.append((columns, torch.from_numpy(np.concatenate([[MISSING, UNKNOWN], rows])).double()))

    width = teacher.spec.table.width

    def translated(x: Tensor) -> Tensor:
        x = x[:, :width]
        if not changes:
            return x
        x = x.clone()
        for columns, rows in changes:
            x[:, columns] = rows.to(x.device)[x[:, columns].long()]
        return x

    return translated


def _check(student: ModelSpec, teacher: ModelSpec) -> None:
    def features(spec: ModelSpec) -> object:
        return [replace(one, num_embeddings=KNOWN + 1) if one.keys else one for one in spec.table.features]

    crosses = teacher.table.crosses
    if features(student) != features(teacher) or (crosses and crosses != student.table.crosses):
        raise ValueError(
            f"{teacher.name} reads other features than {student.name}: what a teacher and its student read differs in "
            "the values that they know, and in that the teacher may lack the crosses."
        )
