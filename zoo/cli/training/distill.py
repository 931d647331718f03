"""Distil: train a student on the answers of one or more teachers (Hinton et al., 2015).

    zoo distill mobilenetv2_cifar_small --teacher mobilenet --data cifar10 --out runs/student
    zoo distill mobilenet-pruned --teacher mobilenet --teacher efficientnet --data cifar10 --out runs/b

The student is an architecture or a network with weights. An architecture starts from random weights. A network with
weights keeps its variant. --data takes what it takes in `zoo finetune`.
"""

from dataclasses import dataclass, field
from typing import Annotated

import torch
import typer

from zoo import registry
from zoo.cli.training.common import (
    Common,
    check_trainable,
    for_classes,
    of_size,
    open_data,
    open_model,
    open_teachers,
    recipe_of,
    show,
)
from zoo.passes.options import option
from zoo.train.finetune import finetune
from zoo.train.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Settings(Common):
    student: Annotated[
        str, typer.Argument(metavar="STUDENT", help="An architecture, a name, or a folder of a saved network.")
    ]
    teacher: tuple[str, ...] = option(
        (), "A network with the same classes. Repeat it for several: the student learns from the mean of their answers."
    )
    input_size: str | None = option(None, "Height and width of the student's pictures, as 360x480. Default: its own.")
    recipe: Recipe = field(default_factory=lambda: Recipe(epochs=30))


def run(settings: Settings) -> None:
    if not settings.teacher:
        raise ValueError("A student needs a teacher: give --teacher a network with the same classes.")
    torch.manual_seed(settings.recipe.seed)
    fresh = settings.student in registry.MODELS
    of_data = fresh and bool(registry.spec(settings.student).input.fresh)  # it reads what its teacher reads
    like = open_model(settings.teacher[0]) if of_data else None
    start = open_model(settings.student, fresh=fresh, settings=settings if of_data else None, like=like)
    start = of_size(start, settings.input_size)
    check_trainable(start)
    data = open_data(settings, start)
    teachers = open_teachers(settings.teacher, data.train.classes)
    student = finetune(
        for_classes(start, data.train.classes),
        data.train,
        settings.recipe,
        settings.out,
        validation=data.validation,
        teachers=teachers,
        identity=recipe_of(settings),
        save_seconds=settings.save_seconds,
        device=settings.device,
    )
    show(student, data, settings.out, dict(zip(settings.teacher, teachers, strict=True)))
