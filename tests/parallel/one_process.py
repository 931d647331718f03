"""What one process computes over the shards of several: the oracle of data parallel training, and small trainings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from short_runs import RECIPE, SPEC, pictures
from zoo.model.build import Model, build
from zoo.models.vit import sized
from zoo.parallel.strategy import Strategy
from zoo.train.images import ImageSet
from zoo.train.log import NoLog
from zoo.train.loop import _mixed, fit
from zoo.train.recipe import Recipe

UNEVEN = replace(RECIPE, batch_size=9, epochs=5, optimizer="adamw", learning_rate=0.01, clip=0.5, accumulate=1)
SHARDED = replace(UNEVEN, optimizer="sgd")
PLAIN = replace(UNEVEN, shift=0, mirror=False, optimizer="sgd")


class Shards(Strategy):
    """One process that computes the shards of `replicas` one after another, each with its own batch norm."""

    def __init__(self, replicas: int, recipe: Recipe) -> None:
        self.count, self.recipe, self.step = replicas, recipe, 0

    def begin(self, step: int) -> None:
        self.step, self.part = step - 1, 0

    def gradients(
        self, objective: Any, network: Any, batch: Any, *, parts: int = 1, last: bool = True
    ) -> tuple[float, Any]:
        self.part += 1
        kept = [one for one in network.buffers() if one.is_floating_point()]
        before, after = [one.clone() for one in kept], [torch.zeros_like(one) for one in kept]
        total, size = 0.0, len(batch[1])
        for number, (x, y) in enumerate(zip(*(one.tensor_split(self.count) for one in batch), strict=True)):
            torch.manual_seed(_mixed(self.recipe.seed, self.step, self.part, number))
            for one, value in zip(kept, before, strict=True):
                one.copy_(value)
            loss, _ = objective.loss(network, (x, y))
            (loss * (len(y) / size) / parts).backward()
            total += loss.item() * len(y) / size
            for one, value in zip(after, kept, strict=True):
                one += value / self.count
        for one, value in zip(kept, after, strict=True):
            one.copy_(value)
        return total, batch[0]


def data() -> ImageSet:
    return pictures()


def network() -> Model:
    torch.manual_seed(0)
    return build(SPEC)


def plain() -> Model:
    """A network without batch norm and without chance, whose steps do not depend on the shards."""
    torch.manual_seed(0)
    return build(
        sized(
            "plain",
            dim=16,
            layers=1,
            heads=2,
            head_dim=8,
            mlp_dim=32,
            prefix=1,
            head="first",
            num_classes=2,
            patch=4,
            size=(8, 8),
            takes=SPEC.input,
        )
    )


def trained(
    strategy: Strategy | None, folder: Path, recipe: Recipe = UNEVEN, start: Model | None = None, **more: Any
) -> dict[str, Tensor]:
    """The weights of a run in `folder`."""
    model = fit(start or network(), data(), recipe, folder=folder, strategy=strategy, log=NoLog(folder), **more)
    return {key: value.clone() for key, value in model.state_dict().items()}


def alone(replicas: int, folder: Path, recipe: Recipe = UNEVEN) -> dict[str, Tensor]:
    return trained(Shards(replicas, recipe), folder, recipe)
