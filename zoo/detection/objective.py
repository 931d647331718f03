"""What training of a detector minimises: the losses of its head, and how far it is from a teacher's answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from zoo.detection.model import Detector
from zoo.train.guidance import guidance
from zoo.train.hints import called
from zoo.train.images import normalize
from zoo.train.precision import uses_bfloat16
from zoo.train.recipe import Recipe

Targets = Sequence[Mapping[str, Tensor]]


class DetectionObjective:
    """The losses of the head on pictures with boxes, and those of imitating a teacher.

    A teacher of the same head and maps gives its scores and its boxes (Hinton et al., 2015); those count more where it
    is sure of an object, for nearly all answers are background.

    Args:
        model (Detector): the network that trains.
        recipe (Recipe): the settings of the training.
        teacher (nn.Module | None): a trained detector with the same head, alone or as the one member of a
            `zoo.train.teachers.Ensemble`. Default: None.

    Raises:
        ValueError: there are several teachers, or the teacher has another head.
    """

    def __init__(self, model: Detector, recipe: Recipe, teacher: nn.Module | None = None) -> None:
        self.recipe, self.device, self.input = recipe, model.device, model.spec.pictures
        self.bfloat16 = uses_bfloat16(model, recipe)
        members: list[Any] = list(getattr(teacher, "members", [teacher] if teacher is not None else []))
        self.teacher: Detector | None = members[0] if members else None
        self.translated: Any = getattr(teacher, "translations", [lambda x: x])[0]
        if len(members) > 1:
            raise ValueError(f"A detector learns from one teacher: boxes have no mean. Here are {len(members)}.")
        if self.teacher is not None and not _same_answers(model, self.teacher):
            raise ValueError(
                f"{self.teacher.spec.name} cannot teach {model.spec.name}: its head has other classes, boxes or maps."
            )
        self.learned = guidance(model, self.teacher, recipe)

    def prepare(self, model: Detector) -> None:
        """Set the modes of the networks."""
        model.train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if self.teacher is not None:
            self.teacher.to(self.device).eval()

    def loss(self, model: Detector, batch: tuple[Tensor, Targets]) -> tuple[Tensor, Tensor]:
        """Of pictures, uint8 (B, H, W, C) or prepared (B, C, H, W), and a dict with boxes and labels for each."""
        pictures, targets = batch
        x = normalize(pictures, self.input.mean, self.input.std) if pictures.dtype == torch.uint8 else pictures
        x = x.to(self.device, memory_format=torch.channels_last)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
            raw, own = called(model, x, self.learned.taps if self.learned is not None else ())
        total = torch.stack([*model.losses(raw, targets, x.shape[2:]).values()]).sum()
        if self.teacher is None:
            return total, x
        with torch.no_grad():
            taps = self.learned.teacher_taps[0] if self.learned is not None else ()
            wanted, theirs = called(self.teacher.raw, self.translated(x), taps)
        weight = self.recipe.soft_weight
        total = (1 - weight) * total + weight * imitation(model, raw.float(), wanted.float(), x.shape[2:])
        if self.learned is not None:
            total = total + self.learned(model, x, own, [theirs])
        return total, x


def imitation(model: Detector, raw: Tensor, wanted: Tensor, size: Sequence[int]) -> Tensor:
    """The binary cross-entropy with the teacher's scores, and the squared distance of the numbers of its boxes, both
    weighted by what the teacher has found; `raw` and `wanted` are outputs (B, N, ...) of the two heads."""
    _, scores = model.decode(raw, size)
    _, sure = model.decode(wanted, size)
    found = sure.amax(-1)
    apart = F.binary_cross_entropy(scores.clamp(1e-6, 1 - 1e-6), sure, reduction="none").sum(-1)
    count = found.sum().clamp(min=1e-6)
    boxes = slice(raw.shape[-1] - model.boxes.numbers, None)
    far = (raw[..., boxes] - wanted[..., boxes]).square().mean(-1)
    return apart.sum() / count + (far * found).sum() / count


def _same_answers(one: Detector, other: Detector) -> bool:
    own, theirs = one.spec.rows[-1], other.spec.rows[-1]
    keys = ("num_classes", "strides", "reg_max", "aspect_ratios", "min_scale", "max_scale")
    return own.kind == theirs.kind and all(own.args.get(key) == theirs.args.get(key) for key in keys)
