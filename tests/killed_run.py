"""A small training run for another process, which can be told where to die."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import torch

from zoo.model.build import build
from zoo.spec import Block, ImageInput, ModelSpec
from zoo.train.images import ImageSet
from zoo.train.log import TrainingLog
from zoo.train.loop import fit
from zoo.train.recipe import Recipe
from zoo.weights.file import save_file

SPEC = ModelSpec(
    "tiny",
    (
        Block("conv_norm_act", "stem", in_channels=3, out_channels=8, stride=2),
        Block("inverted_residual", "a", in_channels=8, mid_channels=16, out_channels=8, stride=2, se_channels=4),
        Block("global_pool", "pool"),
        Block("classifier", "classifier", in_features=8, num_classes=2, dropout=0.2),
    ),
    ImageInput(size=(8, 8)),
)
RECIPE = Recipe(epochs=6, batch_size=8, mixup=0.2, hole=2, average=0.9, bfloat16=False)
STEPS = 30  # of the whole run


class Killer:
    """Sends the process the signal that cannot be caught, behind a step; 0: never."""

    def __init__(self, at: int) -> None:
        self.at = at

    def step(self, done: int, total: int) -> None:
        assert total == STEPS
        if done == self.at:
            os.kill(os.getpid(), signal.SIGKILL)

    def state_dict(self) -> dict[str, object]:
        return {}

    def load_state_dict(self, state: dict[str, object]) -> None:
        """Nothing is kept."""


def train(folder: Path, kill_at: int, save_seconds: float) -> None:
    """Run to the end, or to death; the weights go to `folder`/end.safetensors."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (40, 8, 8, 3), generator=generator, dtype=torch.uint8)
    data = ImageSet(images, torch.arange(40) % 2, "made up", "")
    recipe = replace(RECIPE)
    log = TrainingLog(folder, quiet=True)
    model = fit(
        build(SPEC), data, recipe, folder=folder, after_step=Killer(kill_at), save_seconds=save_seconds, log=log
    )
    save_file(model, folder / "end.safetensors")


def checksum(folder: Path) -> str:
    return sha256((folder / "end.safetensors").read_bytes()).hexdigest()
