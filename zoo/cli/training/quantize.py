"""Quantize a network to int8, from some pictures alone or, with --qat, by training with fake quantization.

    zoo quantize runs/digits --data digits --out runs/digits-int8
    zoo quantize runs/digits --data digits --qat --epochs 5 --out runs/digits-qat
    zoo quantize runs/digits --data digits --max-drop 0.5 --out runs/digits-mixed

The most sensitive rows can stay float32. --keep-float gives their number. --max-drop keeps as many as it takes to
stay near the float network's accuracy on training pictures. --data takes what it takes in `zoo finetune`.
"""

from dataclasses import dataclass, field, fields
from typing import Annotated

import torch
import typer

import zoo
from zoo.cli.screen import remark
from zoo.cli.training.common import Common, check_classes, open_data, open_model, recipe_of, show
from zoo.passes import Int8
from zoo.passes.options import option
from zoo.train.finetune import CALIBRATION, finetune, labelled_inputs
from zoo.train.recipe import Recipe
from zoo.weights.file import save
from zoo.weights.trial import try_save

RECIPE = Recipe(epochs=3, learning_rate=2e-4, weight_decay=0.0, soft_weight=0.9)


@dataclass(frozen=True, kw_only=True)
class Settings(Int8, Common):
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="A float network: a name, or a folder of a saved network. It must have the data's classes.",
        ),
    ]
    pictures: int = option(CALIBRATION, "Number of training examples to calibrate on.", least=1)
    qat: bool = option(False, "Train with fake quantization after calibration. The float network is the teacher.")
    recipe: Recipe = field(default_factory=lambda: RECIPE)

    def of_training(self) -> list[str]:
        """The options that were given, and that only a training reads."""
        usual = {one.name: one.default for one in fields(self)}
        own = [name for name in ("device", "save_seconds") if getattr(self, name) != usual[name]]
        changed = [one.name for one in fields(Recipe) if getattr(self.recipe, one.name) != getattr(RECIPE, one.name)]
        return [f"--{name.replace('_', '-')}" for name in (*own, *changed) if name != "seed"]


def run(settings: Settings) -> None:
    if not settings.qat and (ignored := settings.of_training()):
        raise ValueError(f"{', '.join(ignored)} {'needs' if len(ignored) == 1 else 'need'} --qat.")
    torch.manual_seed(settings.recipe.seed)
    dense = open_model(settings.model)
    data = open_data(settings, dense)
    check_classes(settings.model, dense, data.train.classes)
    inputs, labels = labelled_inputs(data.train, dense, settings.pictures)
    try_save(dense, settings.out)
    remark(f"Quantizing with {len(inputs):,} {dense.spec.input.unit}.")
    rounded = zoo.compress(
        dense,
        "int8",
        calibration=inputs,
        labelled=None if settings.max_drop is None else (inputs, labels),
        **settings.part(Int8),
    )
    compared = {settings.model: dense}
    if settings.qat:
        compared["int8, before training"] = rounded
        rounded = finetune(
            rounded,
            data.train,
            settings.recipe,
            settings.out,
            validation=data.validation,
            teachers=[dense],
            identity=recipe_of(settings),
            save_seconds=settings.save_seconds,
            device=settings.device,
        )
    else:
        save(rounded, settings.out)
    show(rounded, data, settings.out, compared)
