"""The objective of training without labels: the answers and the maps of a dense network (Hinton et al., 2015; FitNets,
Romero et al., 2015)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn as nn
from torch import Tensor

from zoo import kinds, tasks
from zoo.model.answer import counted, to_device
from zoo.model.build import Model
from zoo.train.hints import apart, called
from zoo.train.losses import soft_labels
from zoo.train.precision import uses_bfloat16
from zoo.train.recipe import Recipe


class Imitation:
    """A student's distance from its teacher on the same input, in answers and in the outputs of shared rows.

    Pictures are cut and mirrored at random, texts are not; the teacher sees the same inputs.
    Batch norm keeps its statistics: a few hundred inputs say less about them than the training set said.
    """

    def __init__(self, student: Model, teacher: Model, recipe: Recipe) -> None:
        self.teacher, self.recipe = teacher, recipe
        self.device = next(student.parameters()).device
        self.bfloat16 = uses_bfloat16(student, recipe)
        self.taps = shared_rows(student, teacher)
        self.task = tasks.of(student.spec)
        self.classes = kinds.classes(student.spec)
        self.augment = student.spec.input.fetch("augment") if student.spec.input.augment else None

    def prepare(self, model: Model) -> None:
        model.train()
        for part in model.modules():
            if isinstance(part, nn.modules.batchnorm._BatchNorm):
                part.eval()
        self.teacher.eval()
        if self.augment is not None:
            for network in (model, self.teacher):
                network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def loss(self, model: Model, batch: Tensor | Mapping[str, Tensor]) -> tuple[Tensor, Any]:
        """Of preprocessed inputs."""
        x = self._augmented(batch)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
            with torch.no_grad():
                wanted, maps = called(self.teacher, x, self.taps)
            given, own = called(model, x, self.taps)
        given, wanted, mask = given.float(), wanted.float(), counted(model.spec, x)
        if self.classes:
            given, wanted = (_flat(self.task, one, mask) for one in (given, wanted))
            loss = soft_labels(given, wanted, temperature=self.recipe.temperature)
        else:
            loss = _distance(given, wanted, mask)
        if not self.taps:
            return loss, x
        weight = self.recipe.soft_weight
        far = [_distance(own[name], maps[name], counted(model.spec, x, name)) for name in self.taps]
        return weight * loss + (1 - weight) * torch.stack(far).mean(), x

    def _augmented(self, batch: Tensor | Mapping[str, Tensor]) -> Any:
        x = to_device(batch, self.device)
        if self.augment is None or isinstance(x, Mapping):
            return x
        x = self.augment(x)
        return x.contiguous(memory_format=torch.channels_last)


def shared_rows(student: Model, teacher: Model) -> tuple[str, ...]:
    """The rows of the trunk that both networks have, and whose outputs have one shape."""
    shapes = [
        {row.name: shape for row, shape in zip(model.spec, kinds.row_shapes(model.spec), strict=True)}
        for model in (student, teacher)
    ]
    trunk = [row.name for row in student.spec if kinds.KINDS[row.kind].role == "trunk"]
    return tuple(name for name in trunk if name in shapes[1] and shapes[0][name] == shapes[1][name])


def _flat(task: tasks.Task, logits: Tensor, mask: Tensor | None) -> Tensor:
    """Logits of every example, of every pixel, or of every token that is no padding, as (positions, K)."""
    return logits[mask.bool()] if mask is not None and logits.dim() == 3 else task.scores(logits)


def _distance(given: Tensor, wanted: Tensor, mask: Tensor | None) -> Tensor:
    """The mean squared error in shares of what is wanted; padding does not count."""
    return apart(given.float(), wanted.float(), mask if given.dim() == 3 else None)
