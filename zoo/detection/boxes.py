"""Arithmetic of boxes: (x1, y1, x2, y2) in pixels, x to the right and y down.

Shapes: N and M boxes; a leading batch is free.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

WEIGHTS = (10.0, 10.0, 5.0, 5.0)  # of SSD's offsets: x, y, width, height
MOST = math.log(1000 / 16)  # of a logarithm of a size, so that no box becomes infinite


def areas(boxes: Tensor) -> Tensor:
    """(..., N, 4) to pixels (..., N); 0 for a box that is turned inside out."""
    width, height = (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).unbind(-1)
    return width * height


def pairwise_iou(one: Tensor, other: Tensor) -> Tensor:
    """Intersection over union of each with each: (..., N, 4) and (..., M, 4) to (..., N, M)."""
    here, there = one[..., :, None, :].unbind(-1), other[..., None, :, :].unbind(-1)  # planes: quicker than pairs
    width, height = (
        (torch.minimum(here[at + 2], there[at + 2]) - torch.maximum(here[at], there[at])).clamp(min=0) for at in (0, 1)
    )
    both = width * height
    return both / (areas(one)[..., :, None] + areas(other)[..., None, :] - both).clamp(min=1e-9)


def generalized_iou(one: Tensor, other: Tensor) -> Tensor:
    """Of each with its own: (N, 4) and (N, 4) to (N,), from -1 to 1 (Rezatofighi et al., 2019)."""
    low, high = torch.maximum(one[..., :2], other[..., :2]), torch.minimum(one[..., 2:], other[..., 2:])
    both = areas(torch.cat([low, high], -1))
    union = areas(one) + areas(other) - both
    hull = torch.cat([torch.minimum(one[..., :2], other[..., :2]), torch.maximum(one[..., 2:], other[..., 2:])], -1)
    around = areas(hull).clamp(min=1e-7)
    return both / union.clamp(min=1e-7) - (around - union) / around


def clipped(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """(..., 4) within a picture of (height, width)."""
    height, width = size
    x1, y1, x2, y2 = boxes.unbind(-1)
    return torch.stack([x1.clamp(0, width), y1.clamp(0, height), x2.clamp(0, width), y2.clamp(0, height)], -1)


def encoded(boxes: Tensor, anchors: Tensor) -> Tensor:
    """SSD's offsets (N, 4) of boxes from their anchors: of centres in sizes of the anchor, of sizes in logarithms."""
    center, size = _center_and_size(boxes)
    at, of = _center_and_size(anchors)
    return torch.cat([(center - at) / of, (size / of).log()], -1) * boxes.new_tensor(WEIGHTS)


def decoded(offsets: Tensor, anchors: Tensor) -> Tensor:
    """The boxes (..., N, 4) that SSD's offsets (..., N, 4) from anchors (N, 4) stand for."""
    at, of = _center_and_size(anchors)
    offsets = offsets / offsets.new_tensor(WEIGHTS)
    center = at + offsets[..., :2] * of
    half = of * offsets[..., 2:].clamp(max=MOST).exp() / 2
    return torch.cat([center - half, center + half], -1)


def around(points: Tensor, distances: Tensor) -> Tensor:
    """The boxes (..., N, 4) whose left, top, right and bottom lie at `distances` (..., N, 4) from points (N, 2)."""
    return torch.cat([points - distances[..., :2], points + distances[..., 2:]], -1)


def sides(points: Tensor, boxes: Tensor) -> Tensor:
    """How far left, top, right and bottom of boxes (N, 4) lie from points (N, 2); negative where a point is outside."""
    return torch.cat([points - boxes[..., :2], boxes[..., 2:] - points], -1)


def _center_and_size(boxes: Tensor) -> tuple[Tensor, Tensor]:
    return (boxes[..., :2] + boxes[..., 2:]) / 2, boxes[..., 2:] - boxes[..., :2]
