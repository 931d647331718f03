"""Trainings of a few steps on random pictures."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from zoo.model.build import Model, build
from zoo.passes.sparsify import Sparsifier
from zoo.spec import Block, ImageInput, ModelSpec
from zoo.train.images import ImageSet
from zoo.train.log import TrainingLog
from zoo.train.loop import fit
from zoo.train.recipe import Recipe

MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
RECIPE = Recipe(
    epochs=3,
    batch_size=8,
    optimizer="sgd",
    learning_rate=0.05,
    schedule="one_cycle",
    warmup=0.2,
    shift=1,
    bfloat16=False,
)


STEPS = 5  # an epoch of the 40 pictures
SPEC = ModelSpec(
    "tiny",
    (
        Block("conv_norm_act", "stem", in_channels=3, out_channels=8, stride=2),
        Block("inverted_residual", "a", in_channels=8, mid_channels=16, out_channels=8, stride=2),
        Block("global_pool", "pool"),
        Block("classifier", "classifier", in_features=8, num_classes=2, dropout=0.2),
    ),
    ImageInput(size=(8, 8), mean=MEAN, std=STD),
)


# Everything at once that draws from chance or keeps state of its own.
EVERYTHING = replace(
    RECIPE,
    optimizer="adamw",
    schedule="cosine",
    hole=2,
    rand_augment=5,
    erasing=0.5,
    mixup=0.2,
    cutmix=1.0,
    label_smoothing=0.1,
    average=0.9,
    accumulate=2,
    recompute=True,
)


class Killed(Exception):
    pass


class Cut:
    """Stops the run at a step (0: never), and is a Sparsifier besides, where it is given one."""

    def __init__(self, at: int, sparsifier: Sparsifier | None = None, how: object = Killed) -> None:
        self.at, self.sparsifier, self.how = at, sparsifier, how

    def step(self, done: int, total: int) -> None:
        if done == self.at and isinstance(self.how, signal.Signals):
            os.kill(os.getpid(), self.how)
        elif done == self.at:
            raise Killed
        if self.sparsifier is not None:
            self.sparsifier.step(done, total)

    def state_dict(self) -> dict:
        return self.sparsifier.state_dict() if self.sparsifier else {}

    def load_state_dict(self, state: dict) -> None:
        if self.sparsifier:
            self.sparsifier.load_state_dict(state)


def pictures() -> ImageSet:
    """Dark pictures are of class 0, bright ones of class 1."""
    labels = torch.arange(40) % 2
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 120, (40, 8, 8, 3), generator=generator) + 130 * labels[:, None, None, None]
    return ImageSet(images.to(torch.uint8), labels, "made up", "")


def fresh(seed: int = 0) -> Model:
    torch.manual_seed(seed)
    return build(SPEC)


def run(data: ImageSet, folder: Path, recipe: Recipe = RECIPE, **more: object) -> dict[str, Tensor]:
    more.setdefault("log", TrainingLog(folder, quiet=True))
    model = fit(fresh(), data, recipe, folder=folder, **more)
    return {key: value.clone() for key, value in model.state_dict().items()}


def assert_equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    assert first.keys() == second.keys()
    for key, value in first.items():
        assert torch.equal(value, second[key]), key


def newest(folder: Path) -> Path:
    return sorted((folder / "checkpoints").glob("*.pt"))[-1]
