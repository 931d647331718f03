"""Quantize to int8: after training, from some pictures alone, or with --qat by training on with fake quantization.

    python scripts/quantize.py runs/digits --data digits --out runs/digits-int8
    python scripts/quantize.py runs/digits --data digits --qat --epochs 5 --out runs/digits-qat
    python scripts/quantize.py runs/digits --data digits --max-drop 0.5 --out runs/digits-mixed

Rows that lose most can stay float32, by number (--keep-float) or until the accuracy on the training pictures at hand
is near enough the float network's (--max-drop). --data is what finetune.py takes.
"""

from dataclasses import dataclass, field
from typing import Annotated

import torch
import tyro
from common import Common, check_classes, main, open_data, open_model, recipe_of, show

import zoo
from zoo.finetune import CALIBRATION, finetune, labelled_inputs
from zoo.train.recipe import Recipe
from zoo.weights.file import save


@dataclass(frozen=True, kw_only=True)
class Settings(Common):
    model: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="MODEL")]
    """A float network's name, or the folder of a saved one; its classes are those of the data."""
    pictures: int = CALIBRATION
    """Training pictures to calibrate on."""
    observer: str = "mse"
    """How ranges are chosen: mse, minmax or percentile."""
    keep_float: int = 0
    """Rows to leave float32, those that quantization hurts most."""
    max_drop: float | None = None
    """Points of top-1 that may go; rows stay float32 until it is kept to."""
    qat: bool = False
    """Train on with fake quantization, the float network as teacher."""
    recipe: tyro.conf.OmitArgPrefixes[Recipe] = field(
        default_factory=lambda: Recipe(epochs=3, learning_rate=2e-4, weight_decay=0.0, soft_weight=0.9)
    )


def run(settings: Settings) -> None:
    if settings.pictures < 1:
        raise ValueError(f"pictures is at least 1, not {settings.pictures}.")
    torch.manual_seed(settings.recipe.seed)
    dense = open_model(settings.model)
    data = open_data(settings, dense)
    check_classes(settings.model, dense, data.train.classes)
    inputs, labels = labelled_inputs(data.train, dense, settings.pictures)
    budget = {} if settings.max_drop is None else {"max_drop": settings.max_drop, "labelled": (inputs, labels)}
    rounded = zoo.compress(
        dense, "int8", calibration=inputs, observer=settings.observer, keep_float=settings.keep_float or None, **budget
    )
    compared = {settings.model: dense}
    if settings.qat:
        compared["after training"] = rounded
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


if __name__ == "__main__":
    main(Settings, run)
