"""What a step of training minimises, and on what it trains: the part of the loop that differs between trainings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import torch
import torch.nn as nn
from torch import Tensor

from zoo import tasks
from zoo.model.build import Model
from zoo.train.batches import Batches
from zoo.train.guidance import guidance
from zoo.train.hints import Maps, called
from zoo.train.losses import distillation
from zoo.train.precision import uses_bfloat16
from zoo.train.recipe import Recipe
from zoo.train.teachers import Ensemble


class Examples(Protocol):
    """What a network trains on; `Pictures` are examples."""

    @property
    def sha256(self) -> str: ...

    def __len__(self) -> int: ...

    def stream(self, batches: Sequence[Tensor], seed: int) -> Iterator[Any]:
        """A batch for each of the index tensors, as the objective takes it; what is random depends on `seed` alone."""


class Objective(Protocol):
    """The loss of a step. It may use torch's default generator, which the loop seeds for every step.

    A module in its attribute `learned` trains beside the network, and is kept in checkpoints alone.
    """

    def prepare(self, model: Model) -> None:
        """Set the modes of the network, once, before the first step."""

    def loss(self, model: Model, batch: Any) -> tuple[Tensor, Any]:
        """(scalar loss, the network's input) of a batch of the examples."""


class Supervised:
    """The task's loss on labelled examples; with a `teacher`, its soft labels too, and its inside as the recipe says.

    `shift` is the largest shift of a picture, in place of the recipe's.
    """

    def __init__(
        self, model: Model, recipe: Recipe, teacher: nn.Module | None = None, shift: int | None = None
    ) -> None:
        self.recipe, self.teacher = recipe, teacher
        self.task = tasks.of(model.spec)
        self.task_loss = self.task.fetch("loss")
        self.layout: Any = self.task.fetch("layout") if teacher is not None and recipe.soft_weight else None
        self.device = next(model.parameters()).device
        self.bfloat16 = uses_bfloat16(model, recipe)
        self.learned = guidance(model, teacher, recipe)
        if self.layout is None and self.learned is None:
            self.teacher = None  # no step asks it
        self.batches: Batches = tasks.batches(model.spec)(model, recipe, shift)

    def prepare(self, model: Model) -> None:
        self.batches.prepare(model.train())
        if self.teacher is not None:
            self.batches.prepare(self.teacher.eval())

    def inputs(self, batch: tuple[Any, Any]) -> tuple[Any, Any]:
        """(the network's input, the targets) of a batch of the data."""
        return self.batches.augmented(*batch, self.device)

    def of_answers(self, answers: Tensor, labels: Any) -> Tensor:
        """The loss of the network's answers, where no teacher teaches."""
        return self._answers_loss(answers.float(), None, labels)

    def loss(self, model: Model, batch: tuple[Any, Any]) -> tuple[Tensor, Any]:
        """Of (examples, targets), as the training data gives them."""
        x, labels = self.inputs(batch)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
            logits, own = called(model, x, self.learned.taps if self.learned is not None else ())
            with torch.no_grad():
                soft, theirs = self._taught(x)
        loss = self._answers_loss(logits.float(), soft, labels)
        if self.learned is None:
            return loss, x
        return loss + self.learned(model, x, own, theirs), x

    def _taught(self, x: Any) -> tuple[Tensor | None, list[Maps]]:
        """The teacher's answers, and the outputs of its rows where they are compared."""
        if self.teacher is None:
            return None, []
        count = len(self.teacher.members) if isinstance(self.teacher, Ensemble) else 1
        taps = self.learned.teacher_taps if self.learned is not None else ((),) * count
        if isinstance(self.teacher, Ensemble):
            return self.teacher.with_maps(x, taps)
        soft, maps = called(self.teacher, x, taps[0])
        return soft.float(), [maps]

    def _answers_loss(self, logits: Tensor, soft: Tensor | None, labels: Tensor) -> Tensor:
        recipe = self.recipe
        smoothing = recipe.label_smoothing
        if soft is None or self.layout is None:
            return self.task_loss(logits, labels, label_smoothing=smoothing)  # type: ignore[no-any-return]
        scores, classes = self.layout(logits, labels)
        soft, _ = self.layout(soft, labels)
        strength = {"temperature": recipe.temperature, "weight": recipe.soft_weight}
        return distillation(scores, soft, classes, **strength, label_smoothing=smoothing)
