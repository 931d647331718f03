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
from zoo.train.recipe import OF_CLASSES, OF_PAIRS, OF_PICTURES, OF_TEXTS, Recipe
from zoo.train.text_augment import mask_token, masked, sampled


class Batches:
    """Takes batches that are inputs already, and augments nothing.

    Args:
        model (Model): the network that takes the inputs.
        recipe (Recipe | None): the settings of the training. Default: None, for inputs that are only looked at.
        shift (int | None): the largest shift of a picture, in place of the recipe's. Default: None.

    Raises:
        ValueError: the recipe has settings of another modality.
    """

    own: tuple[str, ...] = ()  # the settings that change such examples at random

    def __init__(self, model: Model, recipe: Recipe | None = None, shift: int | None = None) -> None:
        takes = model.spec.input.unit
        for names, what in ((OF_PICTURES, "pictures"), (OF_TEXTS, "texts")):
            if recipe is not None and self.own != names:
                _check_unused(recipe, names, f"for {what} only, and {model.spec.name} takes {takes}")

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

    own = OF_PICTURES

    def __init__(self, model: Model, recipe: Recipe | None = None, shift: int | None = None) -> None:
        super().__init__(model, recipe, shift)
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
    """Takes what a language model's call takes, by name. Texts with one target each may change at random."""

    own = OF_TEXTS

    def __init__(self, model: Model, recipe: Recipe | None = None, shift: int | None = None) -> None:
        super().__init__(model, recipe, shift)
        self.recipe, self.padding = recipe, model.spec.texts.padding
        if not recipe or not (recipe.token_masking or recipe.ngram_sampling):
            self.recipe = None
        elif not kinds.classes(model.spec):
            raise ValueError("token_masking= and ngram_sampling= are for texts with one class each.")
        elif recipe.token_masking:
            self.mask_token = mask_token(str(model.tokenizer))

    def augmented(self, raw: Any, targets: Tensor, device: torch.device) -> tuple[Any, Tensor]:
        if self.recipe and self.recipe.ngram_sampling:
            raw = sampled(raw, self.recipe.ngram_sampling, self.padding)
        if self.recipe and self.recipe.token_masking:
            raw = masked(raw, self.recipe.token_masking, self.mask_token)
        return to_device(raw, device), targets.to(device)


class PairBatches(Batches):
    """Takes pictures (B, H, W, C) uint8 that `zoo.train.pairs` has changed at random already, with their targets."""

    own = OF_PICTURES

    def __init__(self, model: Model, recipe: Recipe | None = None, shift: int | None = None) -> None:
        super().__init__(model, recipe, shift)
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
