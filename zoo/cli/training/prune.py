"""Remove whole channels and fine-tune the rest, at once or in rounds.

    zoo prune mobilenet --data cifar10 --macs 0.5 --teacher mobilenet --out runs/half
    zoo prune resnet20.cifar10 --data cifar10 --macs 0.25 --rounds 3 --out runs/quarter

Every round keeps the same share of the multiply-accumulates, and trains for the recipe's epochs. --data takes what it
takes in `zoo finetune`.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

import zoo
from zoo.cli.screen import remark
from zoo.cli.training.common import Common, check_classes, open_data, open_model, open_teachers, recipe_of, show
from zoo.model.build import Model
from zoo.passes import Importance, Pruned
from zoo.passes.options import option
from zoo.train.finetune import finetune, labelled_inputs
from zoo.train.pictures import Pictures
from zoo.train.recipe import Recipe

PICTURES = 2048
READING = ("taylor", "calibrated", "auto")  # the importances that look at pictures


@dataclass(frozen=True, kw_only=True)
class Settings(Pruned, Common):
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A name, or a folder of a saved network.")]
    importance: Importance = option(
        "taylor", "How channels are judged; taylor, calibrated and auto, which is calibrated, use training examples."
    )
    drop_blocks: None = field(default=None, init=False)  # `zoo compress` drops blocks; these rounds narrow channels
    rounds: int = option(1, "Number of rounds of pruning and training.", least=1)
    pictures: int = option(PICTURES, "Number of training examples that channels are judged by.", least=1)
    teacher: tuple[str, ...] = option(
        (), "A network with the same classes to learn from while training. Repeat it for several."
    )
    recipe: Recipe = field(default_factory=Recipe)


def of_a_round(settings: Settings) -> dict[str, Any]:
    """The pass's options for each round; every round keeps the same share, and all rounds together reach the target."""
    target, share = settings.target
    kept = (1 - share if target == "ratio" else share) ** (1 / settings.rounds)
    return {**settings.part(Pruned), target: 1 - kept if target == "ratio" else kept}


def run(settings: Settings) -> None:
    if settings.importance not in READING and settings.pictures != PICTURES:
        raise ValueError(f"--pictures is for --importance {', '.join(READING)}; {settings.importance} reads none.")
    settings.recipe.check_used(teacher=bool(settings.teacher))
    torch.manual_seed(settings.recipe.seed)
    start = open_model(settings.model)
    data = open_data(settings, start)
    check_classes(settings.model, start, data.train.classes)  # a fresh head would judge channels by chance
    teachers = open_teachers(settings.teacher, data.train.classes)
    dense = model = start
    judged = _judged(data.train, model, settings)
    for number in range(1, settings.rounds + 1):
        out = settings.out if number == settings.rounds else Path(f"{settings.out}.round{number}")
        remark(f"Round {number} of {settings.rounds}: pruning, then training.")
        model = finetune(
            zoo.compress(model, "pruned", **judged, **of_a_round(settings)),
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


def _judged(train: Pictures, model: Model, settings: Settings) -> dict[str, Any]:
    """The pictures that channels are judged by, as the pass takes them."""
    if settings.importance not in READING:
        return {}
    inputs, labels = labelled_inputs(train, model, settings.pictures)
    return {"data": (inputs, labels)} if settings.importance == "taylor" else {"calibration": inputs}
