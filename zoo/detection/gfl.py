"""Generalized focal loss (Li et al., 2020): classes whose score is the quality of the box, and sides of boxes as
distributions over distances.

Shapes: B pictures, N positions, K classes, R + 1 distances. Raw outputs are (B, N, K + 4 * (R + 1)).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.detection.assignment import assigned
from zoo.detection.boxes import around, clipped, generalized_iou, pairwise_iou, sides
from zoo.detection.grid import Size, points

BETA = 2.0  # of the quality focal loss
BOX_WEIGHT, SIDE_WEIGHT = 2.0, 0.25
LEAST_WEIGHT = 0.2  # of a position's box: small objects, whose boxes fit badly at first, are learned too


class GFLBoxes:
    """What the outputs of a `gfl_head` mean; `args` are the arguments of that row."""

    def __init__(self, args: Mapping[str, Any]) -> None:
        self.classes: int = args["num_classes"]
        self.most: int = args["reg_max"]
        self.numbers = 4 * (self.most + 1)  # of a box
        self._strides = tuple(args["strides"])

    def grid(self, maps: Sequence[Size], size: Size) -> tuple[Tensor, ...]:
        """The middles of the positions (N, 2) and their strides (N, 1)."""
        return points(maps, self._strides)

    def scores(self, raw: Tensor) -> Tensor:
        """Of all classes, (B, N, K)."""
        return raw[..., : self.classes].sigmoid()

    def decode(self, raw: Tensor, grid: tuple[Tensor, ...], size: Size) -> Tensor:
        """Boxes (B, N, 4) within a picture of `size`."""
        return clipped(self._boxes(self._parts(raw)[1], grid), size)

    def losses(
        self, raw: Tensor, targets: Sequence[Mapping[str, Tensor]], grid: tuple[Tensor, ...]
    ) -> dict[str, Tensor]:
        """The quality focal loss of the classes, and for each position that finds something GIoU and distances."""
        logits, spread = self._parts(raw)
        middles, strides = grid
        found = self._boxes(spread, grid)
        quality = torch.zeros_like(logits)
        lost, far, total, count = raw.new_zeros(()), raw.new_zeros(()), raw.new_zeros(()), 0
        for picture, target in enumerate(targets):
            boxes = found[picture]
            with torch.no_grad():
                scores = logits[picture].sigmoid()
                object_of = assigned(boxes.detach(), scores, (middles, strides), target["boxes"], target["labels"])
            at = (object_of >= 0).nonzero().flatten()
            if not len(at):
                continue
            aim, label = target["boxes"][object_of[at]], target["labels"][object_of[at]]
            overlap = _overlap(boxes[at].detach(), aim)
            quality[picture, at, label] = overlap
            weight = scores[at].amax(1).clamp(min=LEAST_WEIGHT)
            lost = lost + ((1 - generalized_iou(boxes[at], aim)) * weight).sum()
            far = far + (self._distances(spread[picture, at], sides(middles[at], aim) / strides[at]) * weight).sum()
            total, count = total + weight.sum(), count + len(at)
        sure = total.clamp(min=1e-6)
        return {
            "classes": quality_focal_loss(logits, quality) / max(1, count),
            "boxes": BOX_WEIGHT * lost / sure,
            "distances": SIDE_WEIGHT * far / sure,
        }

    def _parts(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B, N, K), and of each side the logits of its distances (B, N, 4, R + 1)."""
        logits, spread = raw.split((self.classes, 4 * (self.most + 1)), -1)
        return logits, spread.unflatten(-1, (4, self.most + 1))

    def _boxes(self, spread: Tensor, grid: tuple[Tensor, ...]) -> Tensor:
        middles, strides = grid
        distances = torch.arange(self.most + 1.0, device=spread.device)
        return around(middles, (spread.softmax(-1) * distances).sum(-1) * strides)

    def _distances(self, spread: Tensor, wanted: Tensor) -> Tensor:
        """The distribution focal loss (N,): the cross-entropy with the two distances next to each that is wanted."""
        wanted = wanted.clamp(0, self.most - 0.01)
        low = wanted.long()
        share = wanted - low
        logs = spread.log_softmax(-1)
        near, next_ = (logs.gather(-1, at[..., None])[..., 0] for at in (low, low + 1))
        return -(near * (1 - share) + next_ * share).mean(-1)


def quality_focal_loss(logits: Tensor, quality: Tensor) -> Tensor:
    """The sum of the cross-entropies of logits with qualities from 0 to 1, each weighted by its squared distance."""
    each = F.binary_cross_entropy_with_logits(logits, quality, reduction="none")
    return (each * (quality - logits.sigmoid()).abs().pow(BETA)).sum()


def _overlap(one: Tensor, other: Tensor) -> Tensor:
    """Of each box (N, 4) with its own, (N,)."""
    return pairwise_iou(one[:, None], other[:, None])[:, 0, 0]
