"""Which positions are to find which object: SimOTA (Ge et al., 2021), with soft labels.

Shapes: N positions, K classes, G objects.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.detection.boxes import pairwise_iou, sides

RADIUS = 1.5  # strides around the middle of an object; positions there may find it, and those inside of it
MOST = 13  # overlaps that are added up to say how many positions find an object
IOU_WEIGHT = 3.0
FAR = 1e8


def assigned(boxes: Tensor, scores: Tensor, grid: tuple[Tensor, Tensor], objects: Tensor, labels: Tensor) -> Tensor:
    """The object (N,) that each position is to find, -1 for none.

    A position costs what its class and its box lack now: `boxes` (N, 4) and probabilities `scores` (N, K). An object
    gets as many positions as its overlaps add up to, those that cost least; a position gets the object that costs it
    least. `objects` are boxes (G, 4) with `labels` (G,).
    """
    points, strides = grid
    none = torch.full((len(points),), -1, dtype=torch.int64, device=points.device)
    if not len(objects):
        return none
    inside = sides(points[:, None], objects[None]).amin(-1) > 0  # N, G
    middles = (objects[:, :2] + objects[:, 2:]) / 2
    near = ((points[:, None] - middles[None]).abs() / strides[:, None]).amax(-1) < RADIUS
    possible = inside | near
    overlap = pairwise_iou(boxes, objects).masked_fill(~possible, 0)
    wanted = F.one_hot(labels, scores.shape[1]).to(scores.dtype) * overlap[..., None]  # N, G, K
    given = scores[:, None].expand_as(wanted)
    lacking = F.binary_cross_entropy(given, wanted, reduction="none") * (wanted - given).square()
    cost = lacking.sum(-1) - IOU_WEIGHT * overlap.clamp(min=1e-7).log()
    cost = cost + FAR * ~possible
    counts = overlap.topk(min(MOST, len(points)), 0).values.sum(0).long().clamp(min=1)
    chosen = torch.zeros_like(possible)
    order = cost.argsort(0)
    for number, count in enumerate(counts.tolist()):
        chosen[order[:count, number], number] = True
    chosen &= possible
    cheapest = cost.masked_fill(~chosen, torch.inf).min(1)
    return torch.where(cheapest.values.isfinite(), cheapest.indices, none)
