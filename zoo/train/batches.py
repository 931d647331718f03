"""Batches of training data as inputs of a network: a class for each modality, which the modality's `batches` names.

Shapes: B examples, H and W height and width, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn as nn
from torch import Tensor

from zoo import kinds
from zoo.model.answer import to_device
from zoo.model.build import Model
from zoo.train.augment import Augmentation
from zoo.train.images import normalize
from zoo.train.recipe import OF_CLASSES, OF_PAIRS, OF_PICTURES, Recipe


class Batches:
    """Takes batches that are inputs already, and augments nothing.

    Args:
        model (Model): the network that takes the inputs.
        recipe (Recipe | None): the settings of the training. Default: None, for inputs that are only looked at.
        shift (int | None): the largest shift of a picture, in place of the recipe's. Default: None.

    Raises:
        ValueError: the recipe has settings of another modality.
    """

    def __init__(self, model: Model, recipe: Recipe | None = None, shift: int | None = None) -> None:
        changed = recipe.changed() if recipe else {}
        if idle := [f"{name}=" for name in OF_PICTURES if name in changed]:
            takes = model.spec.input.unit
            raise ValueError(f"{', '.join(idle)}: for pictures only, and {model.spec.name} takes {takes}.")

    def prepare(self, network: nn.Module) -> None:
        """Change the layout of a network's weights, before the first step."""

    def inputs(self, raw: Any) -> Any:
        """The network's input of a batch."""
        return raw

    def augmented(self, raw: Any, targets: Tensor, device: torch.device) -> tuple[Any, Tensor]:
        """(input, targets) of a batch for a step of training; random numbers are torch's."""
        return self.inputs(raw).to(device), targets.to(device)


class PictureBatches(Batches):
    """Takes pictures (B, H, W, C) uint8."""

    def __init__(self, model: Model, recipe: Recipe | None = None, shift: int | None = None) -> None:
        self.input = model.spec.pictures
        if recipe is not None:
            _check_unused(recipe, OF_PAIRS, f"for pictures with masks or boxes, and {model.spec.name} learns classes")
            self.augmentation = Augmentation(recipe, kinds.classes(model.spec), shift=shift)

    def prepare(self, network: nn.Module) -> None:
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def inputs(self, raw: Tensor) -> Tensor:
        return normalize(raw, self.input.mean, self.input.std)

    def augmented(self, raw: Tensor, targets: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
        x = self.inputs(self.augmentation.pictures(raw))
        return self.augmentation.mix(x.to(device), targets.to(device))


class TextBatches(Batches):
    """Takes what a language model's call takes, by name."""

    def augmented(self, raw: Any, targets: Tensor, device: torch.device) -> tuple[Any, Tensor]:
        return to_device(raw, device), targets.to(device)


class PairBatches(Batches):
    """Takes pictures (B, H, W, C) uint8 that `zoo.train.pairs` has changed at random already, with their targets."""

    def __init__(self, model: Model, recipe: Recipe | None = None, shift: int | None = None) -> None:
        self.input = model.spec.pictures
        if recipe is not None:
            _check_unused(recipe, OF_CLASSES, f"for pictures with a class, and {model.spec.name} learns their parts")

    def prepare(self, network: nn.Module) -> None:
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def inputs(self, raw: Tensor) -> Tensor:
        return normalize(raw, self.input.mean, self.input.std)

    def augmented(self, raw: Tensor, targets: Any, device: torch.device) -> tuple[Tensor, Any]:
        return self.inputs(raw).to(device), targets.to(device) if isinstance(targets, Tensor) else targets


def _check_unused(recipe: Recipe, names: Sequence[str], why: str) -> None:
    changed = recipe.changed()
    if idle := [f"{name}=" for name in names if name in changed]:
        raise ValueError(f"{', '.join(idle)}: {why}.")
