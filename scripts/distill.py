"""Distil: a student learns from the answers of one teacher or several (Hinton et al., 2015).

    python scripts/distill.py mobilenetv2_cifar_small --teacher mobilenet --data cifar10 --out runs/student
    python scripts/distill.py mobilenet-pruned --teacher mobilenet --teacher efficientnet --data cifar10 --out runs/b

The student is an architecture, which starts from random weights, or a network that has weights, which keeps its
variant. --data is what finetune.py takes.
"""

from dataclasses import dataclass, field
from typing import Annotated

import torch
import tyro
from common import Common, for_classes, main, open_data, open_model, open_teachers, recipe_of, show

from zoo import registry
from zoo.finetune import finetune
from zoo.train.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Settings(Common):
    student: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="STUDENT")]
    """An architecture, a network's name, or the folder of a saved one."""
    teacher: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """A network of the same classes; given again, the mean of several teaches."""
    recipe: tyro.conf.OmitArgPrefixes[Recipe] = field(default_factory=lambda: Recipe(epochs=30))


def run(settings: Settings) -> None:
    if not settings.teacher:
        raise ValueError("A student needs a --teacher.")
    torch.manual_seed(settings.recipe.seed)
    start = open_model(settings.student, fresh=settings.student in registry.MODELS)
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


if __name__ == "__main__":
    main(Settings, run)
