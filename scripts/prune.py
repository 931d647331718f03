"""Prune whole channels and fine-tune what is left, at once or in rounds.

    python scripts/prune.py mobilenet --data cifar10 --macs 0.5 --teacher mobilenet --out runs/half
    python scripts/prune.py resnet20.cifar10 --data cifar10 --macs 0.25 --rounds 3 --out runs/quarter

Every round takes an equal part of the way, by the factor, and trains for the recipe's epochs. --data is what
finetune.py takes.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import torch
import tyro
from common import Common, check_classes, main, open_data, open_model, open_teachers, recipe_of, show

import zoo
from zoo.finetune import finetune, labelled_inputs
from zoo.train.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Settings(Common):
    model: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="MODEL")]
    """A network's name, or the folder of a saved one."""
    macs: float = 0.5
    """Share of the multiply-accumulates to keep."""
    rounds: int = 1
    """Times that it is pruned and trained."""
    importance: str = "taylor"
    """How channels are judged: l1, l2, bn_scale or taylor."""
    pictures: int = 2048
    """Training pictures that taylor judges by."""
    teacher: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """A network of the same classes to follow while training; may be given again."""
    recipe: tyro.conf.OmitArgPrefixes[Recipe] = field(default_factory=Recipe)


def run(settings: Settings) -> None:
    if settings.rounds < 1 or settings.pictures < 1:
        raise ValueError(f"rounds and pictures are at least 1, not {settings.rounds} and {settings.pictures}.")
    torch.manual_seed(settings.recipe.seed)
    start = open_model(settings.model)
    data = open_data(settings, start)
    check_classes(settings.model, start, data.train.classes)  # a fresh head would judge channels by chance
    teachers = open_teachers(settings.teacher, data.train.classes)
    dense = model = start
    judged = labelled_inputs(data.train, model, settings.pictures) if settings.importance == "taylor" else None
    for number in range(1, settings.rounds + 1):
        out = settings.out if number == settings.rounds else Path(f"{settings.out}.round{number}")
        share = settings.macs ** (1 / settings.rounds)
        model = finetune(
            zoo.compress(model, "pruned", macs=share, importance=settings.importance, data=judged),
            data.train,
            settings.recipe,
            out,
            validation=data.validation,
            teachers=teachers,
            identity={**recipe_of(settings), "round": number},
            save_seconds=settings.save_seconds,
            device=settings.device,
        )
    show(model, data, settings.out, {settings.model: dense})


if __name__ == "__main__":
    main(Settings, run)
