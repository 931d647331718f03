"""One loop for training, distilling, and fine-tuning what a pass has made."""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from zoo.train.images import ImageSet, batches, normalize
from zoo.train.losses import distillation
from zoo.train.strided import subsampled_depthwise


@dataclass(frozen=True)
class Recipe:
    """How a network is trained; kept with the weights it made.

    Momentum SGD on a one-cycle cosine schedule (Smith and Topin, 2018) that peaks at `learning_rate` after
    `warmup` of the steps. `temperature` and `soft_weight` matter only where there is a teacher.
    """

    epochs: int = 40
    batch_size: int = 128
    learning_rate: float = 0.2
    warmup: float = 0.2
    momentum: float = 0.9
    weight_decay: float = 3e-4
    hole: int = 8
    temperature: float = 4.0
    soft_weight: float = 0.9
    bfloat16: bool = True
    seed: int = 0


class AfterStep(Protocol):
    """What runs behind every optimiser step, and must survive a restart: a `zoo.Sparsifier`, say."""

    def step(self, done: int, total: int) -> None: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class Ensemble(nn.Module):
    """Several teachers as one: the mean of their logits (B, K)."""

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([member(x).float() for member in self.members]).mean(0)


def accuracy(model: nn.Module, data: ImageSet, mean: tuple[float, ...], std: tuple[float, ...]) -> float:
    """Share of `data` whose largest logit is the label's, in percent."""
    was_training = model.training
    model.eval()
    with torch.inference_mode():
        right = sum(
            int((model(normalize(images, mean, std)).argmax(1) == labels).sum())
            for images, labels in zip(data.images.split(250), data.labels.split(250), strict=True)
        )
    model.train(was_training)
    return 100 * right / len(data)


def fit(
    model: nn.Module,
    train: ImageSet,
    recipe: Recipe,
    *,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    checkpoint: Path,
    validation: ImageSet | None = None,
    teacher: nn.Module | None = None,
    after_step: AfterStep | None = None,
    identity: Mapping[str, Any] | None = None,
    report: Callable[[str], None] = print,
) -> nn.Module:
    """Train `model` in place and return it, in eval mode.

    The state is written to `checkpoint` after every epoch. A run that finds one of the same recipe, training data and
    `identity` (whatever else tells runs apart: the start, the teacher) goes on from it; another's is refused.
    """
    optimizer = torch.optim.SGD(
        _decayed_apart(model, recipe.weight_decay), recipe.learning_rate, recipe.momentum, nesterov=True
    )
    steps_per_epoch = len(train) // recipe.batch_size
    if steps_per_epoch == 0:
        raise ValueError(f"{len(train)} pictures make no batch of {recipe.batch_size}; choose a smaller batch_size.")
    total = recipe.epochs * steps_per_epoch
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        recipe.learning_rate,
        total_steps=total + 1,
        pct_start=recipe.warmup,
        cycle_momentum=False,
        final_div_factor=1e4,
    )
    parts: dict[str, Any] = {"model": model, "optimizer": optimizer, "schedule": schedule}
    if after_step is not None:
        parts["after_step"] = after_step
    whose = {"recipe": asdict(recipe), "train": train.sha256, **(identity or {})}
    epoch = _resume(checkpoint, whose, parts)
    model.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    if teacher is not None:
        teacher = teacher.to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]

    with subsampled_depthwise(model):
        while epoch < recipe.epochs:
            started, loss_sum = time.monotonic(), 0.0
            generator = torch.Generator().manual_seed(recipe.seed * 10_000 + epoch)
            for index, (images, labels) in enumerate(batches(train, recipe.batch_size, generator, hole=recipe.hole)):
                x = normalize(images, mean, std)
                with torch.autocast("cpu", torch.bfloat16, enabled=recipe.bfloat16):
                    logits = model(x)
                    soft = None if teacher is None else _answer(teacher, x)
                loss = _loss(logits.float(), soft, labels, recipe)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                if after_step is not None:
                    after_step.step(epoch * steps_per_epoch + index + 1, total)
                loss_sum += loss.item()
            epoch += 1
            _write(
                {"whose": whose, "epoch": epoch, **{name: part.state_dict() for name, part in parts.items()}},
                checkpoint,
            )
            line = f"epoch {epoch}/{recipe.epochs}  loss {loss_sum / steps_per_epoch:.4f}"
            if validation is not None:
                line += f"  validation {accuracy(model, validation, mean, std):.2f}"
            report(f"{line}  {time.monotonic() - started:.0f} s")
    return model.eval()


def _decayed_apart(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Weight decay for matrices and kernels, none for biases and batch norm."""
    decayed = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim <= 1]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": plain, "weight_decay": 0.0}]


def _answer(teacher: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        return teacher(x).float()


def _loss(logits: Tensor, soft: Tensor | None, labels: Tensor, recipe: Recipe) -> Tensor:
    if soft is None:
        return F.cross_entropy(logits, labels)
    return distillation(logits, soft, labels, temperature=recipe.temperature, weight=recipe.soft_weight)


def _resume(checkpoint: Path, whose: Mapping[str, Any], parts: Mapping[str, Any]) -> int:
    if not checkpoint.exists():
        return 0
    saved = torch.load(checkpoint, weights_only=True)
    if saved.get("whose") != whose or saved.keys() != {"whose", "epoch", *parts}:
        raise ValueError(f"{checkpoint} belongs to another recipe or run; name another checkpoint, or delete it.")
    for name, part in parts.items():
        part.load_state_dict(saved[name])
    return saved["epoch"]


def _write(state: dict[str, Any], checkpoint: Path) -> None:
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    unfinished = checkpoint.with_suffix(f".{os.getpid()}.tmp")
    torch.save(state, unfinished)
    os.replace(unfinished, checkpoint)
