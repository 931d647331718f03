"""A network that gives every pixel a class: its targets, its figures, and its answer.

Shapes: B pictures, K classes, H and W height and width.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.data.void import IGNORED
from zoo.tasks.answers import class_name
from zoo.tasks.drawing import color_of, layered, with_legend, within_bounds
from zoo.tasks.metrics import choices
from zoo.tasks.targets import Targets

if TYPE_CHECKING:
    from PIL import Image

    from zoo.model.build import Model


class Masks(Targets):
    """Masks as arrays, uint8 (H, W); `IGNORED` where a pixel does not count."""

    usual = ("mask", "masks", "annotation", "label")

    def in_memory(self, targets: Any, count: int) -> list[np.ndarray]:
        found = [np.asarray(one) for one in targets]
        for place, mask in enumerate(found):
            if mask.ndim != 2 or mask.dtype != np.uint8:
                raise ValueError(f"masks are arrays uint8 (H, W); number {place} is {mask.dtype} of {mask.shape}.")
        if len(found) != count:
            raise ValueError(f"{count} pictures need as many masks, not {len(found)}.")
        return found


class PixelMetrics:
    """Mean intersection over union of all pixels of a data set (Jaccard index, by torchmetrics), and pixel accuracy.

    Answers are judged at the size of the masks: smaller ones are enlarged before the likeliest class is taken.
    Classes that are in no mask and in no answer do not count.
    """

    of_a_class = "IoU"

    def __init__(self, metric: str, source: str) -> None:
        self._metric, self._source = metric, source
        self._jaccard: Any = None

    def add(self, outputs: Tensor, targets: Sequence[Any]) -> None:
        classes = outputs.shape[1]
        if self._jaccard is None:
            self._jaccard = _jaccard(classes)
        for scores, target in zip(outputs.detach().float().cpu(), targets, strict=True):
            mask = torch.as_tensor(np.asarray(target)).long()
            outside = mask[(mask >= classes) & (mask != IGNORED)]
            if len(outside):
                raise ValueError(
                    f"{self._source} has class {int(outside[0])}, but the network knows only 0 to {classes - 1}."
                )
            self._jaccard.update(at_size(scores[None], mask.shape), mask[None])

    def seen(self) -> Any:
        return None if self._jaccard is None else self._jaccard.confmat

    def join(self, seen: Any) -> None:
        if seen is None:
            return
        if self._jaccard is None:
            self._jaccard = _jaccard(len(seen))
        self._jaccard.confmat += seen

    def figures(self) -> dict[str, float]:
        """Raises ValueError where no pixel counts."""
        counts = self._counts
        if not counts.sum():
            raise ValueError(f"{self._source} has no pixel with a class, so there is no {self._metric}.")
        return {
            self._metric: 100 * float(self._jaccard.compute()),
            "pixel accuracy": 100 * float(counts.trace() / counts.sum()),
        }

    def per_class(self) -> dict[int, float]:
        """The intersection over union of each class that is in a mask or in an answer."""
        counts = self._counts
        union = counts.sum(0) + counts.sum(1) - counts.diag()
        shares = 100 * counts.diag() / union
        return {number: float(share) for number, share in enumerate(shares) if union[number]}

    @property
    def _counts(self) -> Tensor:
        """Pixels (K, K): of each class in the masks, by the class that they got."""
        return self._jaccard.confmat.double()  # type: ignore[no-any-return]


def at_size(scores: Tensor, size: Sequence[int]) -> Tensor:
    """Scores (B, K, h, w), bilinearly at another height and width."""
    if tuple(scores.shape[2:]) == tuple(size):
        return scores
    return F.interpolate(scores, tuple(size), mode="bilinear", align_corners=False)


def _jaccard(classes: int) -> Any:
    try:
        from torchmetrics.classification import MulticlassJaccardIndex
    except ImportError:
        raise ValueError("mIoU needs torchmetrics: pip install 'zoo-efficient[dense]'.") from None
    alone: dict[str, Any] = {"validate_args": False, "sync_on_compute": False}  # the other processes have told theirs
    return MulticlassJaccardIndex(classes, average="macro", ignore_index=IGNORED, **alone)


class Regions:
    """The share of the picture that each class has, the largest first; drawn, the class of every pixel.

    Attributes:
        classes (np.ndarray): the class of every pixel, int64 (H, W).
    """

    def __init__(self, model: Model, scores: Tensor) -> None:
        self._model, self._scores = model, scores.detach().float().cpu()
        self.classes = choices(self._scores.movedim(0, -1))

    def shares(self) -> Mapping[int, float]:
        """Class -> its share of the pixels, the largest first; classes without a pixel are left out."""
        numbers, counts = np.unique(self.classes, return_counts=True)
        order = np.argsort(-counts, kind="stable")
        return {int(numbers[i]): float(counts[i] / self.classes.size) for i in order}

    def to_json(self) -> dict[str, Any]:
        return {"classes": [{"label": class_name(self._model, i), "share": s} for i, s in self.shares().items()]}

    def lines(self) -> Iterator[str]:
        for number, share in self.shares().items():
            yield f"{100 * share:6.2f}%  {class_name(self._model, number)}"

    def draw(self, picture: Image.Image) -> Image.Image:
        """Lay the colours of the classes over the picture, with their names and shares below it.

        Args:
            picture (Image.Image): what the network was asked about, upright.

        Returns:
            An RGB picture, up to 2048 pixels wide and high above the names.
        """
        shown = within_bounds(picture)
        classes = choices(at_size(self._scores[None], (shown.height, shown.width)).movedim(1, -1))[0]
        rows = [(color_of(i), f"{class_name(self._model, i)} {100 * s:.1f}%") for i, s in self.shares().items()]
        return with_legend(layered(shown, classes), rows)
