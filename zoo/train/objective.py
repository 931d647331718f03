"""What a step of training minimises, and on what it trains: the part of the loop that differs between trainings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import torch
import torch.nn as nn
from torch import Tensor

from zoo import tasks
from zoo.data.void import IGNORED
from zoo.model.build import Model
from zoo.tasks.objectives import in_pairs, shares_in_pairs
from zoo.train.batches import Batches
from zoo.train.losses import distillation
from zoo.train.precision import uses_bfloat16
from zoo.train.recipe import Recipe


class Examples(Protocol):
    """What a network trains on; `Pictures` are examples."""

    @property
    def sha256(self) -> str: ...

    def __len__(self) -> int: ...

    def stream(self, batches: Sequence[Tensor], seed: int) -> Iterator[Any]:
        """A batch for each of the index tensors, as the objective takes it; what is random depends on `seed` alone."""


class Objective(Protocol):
    """The loss of a step. It may use torch's default generator, which the loop seeds for every step."""

    def prepare(self, model: Model) -> None:
        """Set the modes of the network, once, before the first step."""

    def loss(self, model: Model, batch: Any) -> tuple[Tensor, Any]:
        """(scalar loss, the network's input) of a batch of the examples."""


class Supervised:
    """The task's loss on labelled examples; with a `teacher`, its soft labels too.

    `shift` is the largest shift of a picture, in place of the recipe's.
    """

    def __init__(
        self, model: Model, recipe: Recipe, teacher: nn.Module | None = None, shift: int | None = None
    ) -> None:
        self.recipe, self.teacher = recipe, teacher
        self.task = tasks.of(model.spec)
        self.task_loss = self.task.fetch("loss")
        self.device = next(model.parameters()).device
        self.bfloat16 = uses_bfloat16(model, recipe)
        self.batches: Batches = tasks.batches(model.spec)(model, recipe, shift)

    def prepare(self, model: Model) -> None:
        self.batches.prepare(model.train())
        if self.teacher is not None:
            self.batches.prepare(self.teacher.eval())

    def loss(self, model: Model, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Of (examples, targets), as the training data gives them."""
        recipe = self.recipe
        x, labels = self.batches.augmented(*batch, self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
            logits = model(x)
            with torch.no_grad():
                soft = None if self.teacher is None else self.teacher(x).float()
        logits = logits.float()
        smoothing = recipe.label_smoothing
        if soft is None:
            return self.task_loss(logits, labels, label_smoothing=smoothing), x
        if self.task.binary:
            logits, soft = in_pairs(logits), in_pairs(soft)
            labels = shares_in_pairs(labels) if labels.is_floating_point() else labels
        if self.task.pixels:
            counts = labels.flatten() != IGNORED
            logits, soft, labels = (one[counts] for one in (*map(self.task.scores, (logits, soft)), labels.flatten()))
            labels = labels.long()
        strength = {"temperature": recipe.temperature, "weight": recipe.soft_weight}
        return distillation(logits, soft, labels, **strength, label_smoothing=smoothing), x
