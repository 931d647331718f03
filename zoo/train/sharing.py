"""What a strategy of several processes needs to know of a training before it begins."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import torch

from zoo.model.build import Model
from zoo.parallel.strategy import Strategy, Training
from zoo.train.pictures import order_of
from zoo.train.precision import uses_bfloat16
from zoo.train.recipe import Recipe

_BATCHES = 8  # whose length stands for all


def settled(
    strategy: Strategy | None, model: Model, train: Any, recipe: Recipe, folder: Path, **used: bool
) -> Strategy:
    """The strategy that trains this network on these examples; `used` names other options, and whether they are.

    Raises ValueError for what it does not train.
    """
    training = Training(
        model,
        recipe,
        folder,
        tokens=lambda: tokens_of(train, recipe) if model.spec.input.ids else None,
        bfloat16=lambda one: uses_bfloat16(one, recipe),
        used=used,
    )
    return (strategy or Strategy()).settled(training)


def tokens_of(train: Any, recipe: Recipe) -> int:
    """The usual length of a batch of texts."""
    batches = order_of(train, torch.Generator().manual_seed(recipe.seed)).split(recipe.batch_size)[:_BATCHES]
    return round(statistics.mean(x["input_ids"].shape[1] for x, _ in train.stream(batches, recipe.seed)))
