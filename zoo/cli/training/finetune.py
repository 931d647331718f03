"""Fine-tune a network on your own pictures, texts or table rows. A pruned or sparse network stays what it is.

    zoo finetune mobilenet --data digits --out runs/digits
    zoo finetune mobilenet-int8 --data digits --out runs/digits-int8
    zoo finetune resnet20 --fresh --data cifar10 --epochs 30 --out runs/scratch

--data takes a folder with a folder for every class, Parquet files, or a data set of the Hub. The folder may have
train/ and validation/ above the class folders. To continue a stopped run, give the same command again. An int8 network
of convolutions stays int8; in place of an int8 Transformer or recommender train the float32 one, then quantize it.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import torch
import typer

from zoo import kinds, registry
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
from zoo.cli.training.sharing import Sharing
from zoo.model.build import Model
from zoo.parallel.strategy import Strategy
from zoo.passes.options import option
from zoo.text.heads import with_task
from zoo.train.finetune import finetune
from zoo.train.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Settings(Common):
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A name, or a folder of a saved network.")]
    fresh: bool = option(False, "Start from random weights.")
    task: Literal["text-classification", "token-classification", "question-answering"] | None = option(
        None,
        "What an encoder of texts is to learn. Default: the task that it is for; without a head, classes of texts.",
    )
    input_size: str | None = option(None, "Height and width of the network's pictures, as 360x480. Default: its own.")
    schema: Path | None = option(
        None, "What a fresh recommender reads, as `zoo schema` prints it. Default: inferred from the data."
    )
    dim: int | None = option(None, "Width of a fresh recommender's vectors. Default: 16.", least=1)
    vocabulary: int | None = option(
        None, "Tokens of a fresh language model, learned from the data. Default: the architecture's number.", least=1
    )
    teacher: tuple[str, ...] = option(
        (), "A network with the same classes to learn from. Repeat it for several: the mean of their answers counts."
    )
    sparsity: float = option(
        0.0, "Share of the weights to set to zero, during the first half of the steps.", least=0, below=1
    )
    recipe: Recipe = field(default_factory=Recipe)
    sharing: Sharing = field(default_factory=Sharing)


def run(settings: Settings) -> None:
    with settings.sharing.strategy(settings.device) as strategy:
        _run(settings, strategy)


def _run(settings: Settings, strategy: Strategy) -> None:
    settings.recipe.check_used(teacher=bool(settings.teacher))
    torch.manual_seed(settings.recipe.seed)
    start = of_size(open_model(settings.model, fresh=settings.fresh, settings=settings), settings.input_size)
    check_trainable(start)
    for name, what in (("schema", "a recommender"), ("dim", "a recommender"), ("vocabulary", "a language model")):
        used = settings.fresh and settings.model in registry.MODELS and name in start.spec.input.fresh_options
        if getattr(settings, name) is not None and not used:
            raise ValueError(f"{name}= is for {what} that starts from random weights, with --fresh.")
    start = _for_task(start, settings.task)
    data = open_data(settings, start)
    tuned = finetune(
        for_classes(start, data.train.classes),
        data.train,
        settings.recipe,
        settings.out,
        validation=data.validation,
        teachers=open_teachers(settings.teacher, data.train.classes),
        sparsity=settings.sparsity,
        identity=recipe_of(settings),
        save_seconds=settings.save_seconds,
        device=strategy.device or settings.device,
        strategy=strategy,
    )
    if strategy.first:
        show(tuned, data, settings.out)


def _for_task(model: Model, task: str | None) -> Model:
    """The network with a fresh head for the task, where it has none for it."""
    if task in (None, model.spec.task):
        return model
    if task != "text-classification":
        return with_task(model, task)
    if not model.spec.input.ids or kinds.outputs(model.spec):
        raise ValueError(
            f"task= is for an encoder of texts without a head, and {model.spec.name} is for {model.spec.task}."
        )
    return model  # the data says how many classes there are
