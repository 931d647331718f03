"""Where a detector looks: anchors and points, which follow from the sizes of its maps.

Maps come one after another, the finest first; in a map rows from the top, in a row positions from the left.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

Size = tuple[int, int]  # height, width


def scales(levels: int, least: float, most: float) -> list[tuple[float, float]]:
    """Of each level, the side of its anchors in shares of the picture's, and of one between it and the next level's."""
    steps = [least + (most - least) * level / max(1, levels - 1) for level in range(levels)] + [1.0]
    return [(one, math.sqrt(one * other)) for one, other in pairwise(steps)]


def anchors(maps: Sequence[Size], size: Size, ratios: Sequence[float], least: float, most: float) -> Tensor:
    """SSD's default boxes (N, 4) in a picture of `size` (Liu et al., 2016): at each position two squares, and two boxes
    for each of `ratios`, a wide one and a high one.
    """
    found = []
    for (height, width), (side, between) in zip(maps, scales(len(maps), least, most), strict=True):
        shapes = [(side, side), (between, between)]
        for root in map(math.sqrt, ratios):
            shapes += [(side * root, side / root), (side / root, side * root)]
        half = torch.tensor(shapes, dtype=torch.float64).clamp(max=1) / 2
        centers = _centers(height, width) / torch.tensor([width, height])
        boxes = torch.cat([centers[:, None] - half, centers[:, None] + half], -1)
        found.append(boxes.reshape(-1, 4) * torch.tensor([size[1], size[0]] * 2))
    return torch.cat(found).float()


def points(maps: Sequence[Size], strides: Sequence[int]) -> tuple[Tensor, Tensor]:
    """The middles of all positions, (N, 2) in pixels, and the stride of each (N, 1)."""
    found = [_centers(*one) * stride for one, stride in zip(maps, strides, strict=True)]
    widths = [torch.full((len(one), 1), float(stride)) for one, stride in zip(found, strides, strict=True)]
    return torch.cat(found).float(), torch.cat(widths)


def _centers(height: int, width: int) -> Tensor:
    """x and y (height * width, 2) of the middles, in positions."""
    y, x = torch.meshgrid(
        torch.arange(height, dtype=torch.float64) + 0.5, torch.arange(width, dtype=torch.float64) + 0.5, indexing="ij"
    )
    return torch.stack([x.flatten(), y.flatten()], -1)
