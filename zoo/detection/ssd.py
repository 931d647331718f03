"""SSD (Liu et al., 2016): offsets from anchors, and classes of which the first is the background.

Shapes: B pictures, N anchors, K classes. Raw outputs are (B, N, 1 + K + 4).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.detection.boxes import clipped, decoded, encoded, pairwise_iou
from zoo.detection.grid import Size, anchors

OVERLAP = 0.5  # of an anchor with an object that it is to find
NEGATIVES = 3  # anchors of the background that count, for each that finds something


class SSDBoxes:
    """What the outputs of an `ssd_head` mean; `args` are the arguments of that row."""

    def __init__(self, args: Mapping[str, Any]) -> None:
        self.classes: int = args["num_classes"]
        self.numbers = 4  # of a box
        self._shape = (tuple(args["aspect_ratios"]), args["min_scale"], args["max_scale"])

    def grid(self, maps: Sequence[Size], size: Size) -> tuple[Tensor, ...]:
        """The anchors (N, 4)."""
        return (anchors(maps, size, *self._shape),)

    def scores(self, raw: Tensor) -> Tensor:
        """The probabilities of all classes but the background, (B, N, K)."""
        return raw[..., : 1 + self.classes].softmax(-1)[..., 1:]

    def decode(self, raw: Tensor, grid: tuple[Tensor, ...], size: Size) -> Tensor:
        """Boxes (B, N, 4) within a picture of `size`."""
        return clipped(decoded(raw[..., 1 + self.classes :], *grid), size)

    def losses(
        self, raw: Tensor, targets: Sequence[Mapping[str, Tensor]], grid: tuple[Tensor, ...]
    ) -> dict[str, Tensor]:
        """Smooth L1 of the offsets, and the cross-entropy of the classes with hard negatives, for each anchor found."""
        logits, offsets = raw.split((1 + self.classes, 4), -1)
        (boxes,) = grid
        wanted = torch.zeros(raw.shape[:2], dtype=torch.int64, device=raw.device)
        apart = raw.new_zeros(())
        for picture, target in enumerate(targets):
            found = matched(target["boxes"], boxes)
            at = (found >= 0).nonzero().flatten()
            wanted[picture, at] = target["labels"][found[at]] + 1
            aim = encoded(target["boxes"][found[at]], boxes[at])
            apart = apart + F.smooth_l1_loss(offsets[picture, at], aim, reduction="sum")
        each = F.cross_entropy(logits.transpose(1, 2), wanted, reduction="none")
        objects = wanted > 0
        rank = each.detach().masked_fill(objects, -torch.inf).argsort(1, descending=True).argsort(1)
        hard = rank < NEGATIVES * objects.sum(1, keepdim=True)
        count = objects.sum().clamp(min=1)
        return {"classes": each[objects | hard].sum() / count, "boxes": apart / count}


def matched(objects: Tensor, anchors: Tensor) -> Tensor:
    """The object (N,) that each anchor is to find, -1 for none: the one that it overlaps most, if by half.

    Each object has the anchor that overlaps it most, even if by less.
    """
    if not len(objects):
        return torch.full((len(anchors),), -1, dtype=torch.int64, device=anchors.device)
    overlap = pairwise_iou(objects, anchors)
    most, found = overlap.max(0)
    found = torch.where(most >= OVERLAP, found, -1)
    found[overlap.max(1).indices] = torch.arange(len(objects), device=found.device)
    return found
