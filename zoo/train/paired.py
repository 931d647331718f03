"""Random changes of a picture that its target follows, by torchvision's transforms v2.

Shapes: H and W height and width, C colours.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from zoo.data.void import IGNORED
from zoo.spec import ImageInput
from zoo.train.recipe import Recipe


class PairedAugmentation:
    """Resizes, cuts, mirrors and recolours a picture at random; its mask or boxes move with it.

    Torch's default generator decides. The picture is resized to the network's size times a random factor, from
    1 / `recipe.scale_jitter` to `recipe.scale_jitter`. Then the network's size is cut out anywhere. Where the picture
    does not reach, it is filled with the mean colour, and masks with `IGNORED`.

    Args:
        input (ImageInput): the size of the result, and the mean colour.
        recipe (Recipe): `scale_jitter`, `mirror` and `color_jitter`.

    Raises:
        ValueError: torchvision is missing.
    """

    def __init__(self, input: ImageInput, recipe: Recipe) -> None:  # noqa: A002
        try:
            from torchvision import tv_tensors
            from torchvision.transforms import v2
        except ImportError:
            raise ValueError("Paired augmentation needs torchvision: pip install 'zoo-efficient[dense]'.") from None
        self._kinds = tv_tensors
        grey = [round(255 * one) for one in input.mean]
        void = {tv_tensors.Image: grey, tv_tensors.Mask: IGNORED}
        self._size, self._most, self._resize = input.size, recipe.scale_jitter, v2.functional.resize
        steps: list[Any] = [v2.RandomCrop(input.size, pad_if_needed=True, fill=void)]
        if recipe.mirror:
            steps.append(v2.RandomHorizontalFlip())
        if (strength := recipe.color_jitter) and input.channels == 3:
            steps.append(v2.ColorJitter(strength, strength, strength))
        self._of_boxes = v2.SanitizeBoundingBoxes(min_size=2.0)
        self._change = v2.Compose(steps)

    def __call__(self, picture: np.ndarray, target: Any) -> tuple[np.ndarray, Any]:
        """Change one example.

        Args:
            picture (np.ndarray): uint8 (H, W, C).
            target (Any): a mask, uint8 (H, W); or {"boxes": float32 (N, 4), "labels": int64 (N,), "size": (H, W)},
                corners in pixels.

        Returns:
            (picture uint8, of the network's size; the target in the same form).
        """
        image = self._kinds.Image(torch.from_numpy(picture).permute(2, 0, 1))
        if isinstance(target, np.ndarray):
            image, mask = self._change(*self._resized(image, self._kinds.Mask(torch.from_numpy(target))))
            return _channels_last(image), np.ascontiguousarray(mask.numpy())
        boxes = self._kinds.BoundingBoxes(torch.from_numpy(target["boxes"]), format="XYXY", canvas_size=target["size"])
        image, boxes = self._change(*self._resized(image, boxes))
        kept = self._of_boxes({"boxes": boxes, "labels": torch.from_numpy(target["labels"])})
        found = {"boxes": kept["boxes"].numpy().reshape(-1, 4), "labels": kept["labels"].numpy()}
        return _channels_last(image), {**found, "size": tuple(image.shape[1:])}

    def _resized(self, *pair: Any) -> Any:
        """At the network's size times one random factor."""
        factor = self._most ** float(torch.empty(()).uniform_(-1, 1))
        size = [max(1, round(side * factor)) for side in self._size]
        return [self._resize(one, size, antialias=True) for one in pair]


def _channels_last(image: torch.Tensor) -> np.ndarray:
    return np.ascontiguousarray(image.permute(1, 2, 0).numpy())
