"""Augment batches of training pictures: shifts and holes here, everything else with torchvision.

All random numbers come from torch's default generator, which the loop seeds for every step. So a resumed run sees the
same pictures as an uninterrupted run. Shapes: B pictures in a batch, H and W height and width, C colours, K classes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from zoo.train.recipe import Recipe

GREY = 121  # the grey level of a hole


class Augmentation:
    """`pictures` changes uint8 pictures, `mix` normalised ones with their labels."""

    def __init__(self, recipe: Recipe, classes: int, *, shift: int | None = None) -> None:
        self.recipe, self.classes = recipe, classes
        self.shift = recipe.shift if shift is None else shift
        if recipe.rand_augment or recipe.erasing or recipe.mixup or recipe.cutmix:
            from torchvision.transforms import v2  # the import takes four seconds

            self.operations = v2.RandAugment(magnitude=recipe.rand_augment) if recipe.rand_augment else None
            self.erase = v2.RandomErasing(recipe.erasing, value="random") if recipe.erasing else None
            mixers = [
                make(alpha=alpha, num_classes=classes)
                for make, alpha in ((v2.MixUp, recipe.mixup), (v2.CutMix, recipe.cutmix))
                if alpha
            ]
            self.mixer = v2.RandomChoice(mixers) if mixers else None
        else:
            self.operations = self.erase = self.mixer = None

    def pictures(self, images: Tensor) -> Tensor:
        """Augment pictures, (B, H, W, C) uint8."""
        images = shifted(images, self.shift, mirror=self.recipe.mirror)
        if self.operations is not None:
            nchw = images.permute(0, 3, 1, 2)
            images = torch.stack([self.operations(picture) for picture in nchw]).permute(0, 2, 3, 1)
        return punched(images, self.recipe.hole) if self.recipe.hole else images

    def mix(self, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Augment (B, C, H, W) floats; labels (B,) stay, or become shares (B, K) of classes if pictures are mixed."""
        if self.erase is not None:
            x = torch.stack([self.erase(picture) for picture in x]).contiguous(memory_format=torch.channels_last)
        if self.mixer is not None:
            x, labels = self.mixer(x, labels)
        return x, labels


def shifted(images: Tensor, by: int, *, mirror: bool = True) -> Tensor:
    """A random crop after reflected padding, and a mirror, for every picture of (B, H, W, C)."""
    batch, height, width, _ = images.shape
    if not by and not mirror:
        return images
    rows, columns = (_moved(size, min(by, size - 1), batch) for size in (height, width))
    if mirror:
        turned = torch.randint(0, 2, (batch, 1)).bool()
        columns = torch.where(turned, columns.flip(1), columns)
    return images[torch.arange(batch)[:, None, None], rows[:, :, None], columns[:, None, :]]


def punched(images: Tensor, hole: int) -> Tensor:
    """A grey square of `hole` pixels anywhere on every picture of (B, H, W, C), in part beyond its border."""
    batch, height, width, _ = images.shape

    def inside(size: int) -> Tensor:
        distance = torch.arange(size) - torch.randint(0, size, (batch, 1))
        return (distance >= -(hole // 2)) & (distance < hole - hole // 2)

    covered = inside(height)[:, :, None] & inside(width)[:, None, :]
    return images.masked_fill(covered[..., None], GREY)


def _moved(size: int, by: int, batch: int) -> Tensor:
    """(B, size) indices of lines after a shift, reflected at the border."""
    index = torch.arange(size) + torch.randint(0, 2 * by + 1, (batch, 1)) - by
    return size - 1 - (size - 1 - index.abs()).abs()
