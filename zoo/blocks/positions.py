"""Where a token stands: rotary and relative positions inside of attention, learned ones added before it."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from zoo.blocks.traced import traced


def rotate(x: Tensor, positions: Tensor, base: float, scaling: tuple[float, ...] = ()) -> Tensor:
    """Rotary positions (Su et al., 2021), halves paired as Llama pairs them.

    `x` (B, H, N, D); `positions` (N,) or (B, N), whole numbers. Angles are taken in float32. `scaling` is as `slowed`
    takes it.
    """
    return turned(x, *turns(positions, x.shape[-1], x.dtype, base, scaling))


def turns(
    positions: Tensor, width: int, dtype: torch.dtype, base: float, scaling: tuple[float, ...] = ()
) -> tuple[Tensor, Tensor]:
    """What `turned` takes, for heads of `width`: cosines and signed sines, (N, width) or (B, 1, N, width)."""
    half = width // 2
    inverse = slowed(1.0 / base ** (torch.arange(half, dtype=torch.float32, device=positions.device) / half), scaling)
    angles = positions.to(torch.float32)[..., None] * inverse
    cos, sin = angles.cos().to(dtype), angles.sin().to(dtype)
    cos, sin = torch.cat([cos, cos], -1), torch.cat([-sin, sin], -1)
    return (cos[:, None], sin[:, None]) if positions.dim() == 2 else (cos, sin)


def turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """`x` (B, H, N, D), each pair of channels turned by its angle."""
    half = x.shape[-1] // 2
    swapped = torch.cat([x[..., half:], x[..., :half]], -1) if traced() else x.roll(half, -1)
    return torch.addcmul(x * cos, swapped, sin)


def slowed(frequencies: Tensor, scaling: tuple[float, ...]) -> Tensor:
    """Rotary frequencies, slowed for texts longer than in training.

    `scaling` is (): as they are; (factor,): all slower (Chen et al., 2023); or (factor, low, high, length): those that
    turn fewer than `low` times in `length` tokens are slower, above `high` none, and in between in part (Llama 3.1,
    2024).
    """
    if len(scaling) < 4:
        return frequencies / scaling[0] if scaling else frequencies
    factor, low, high, length = scaling
    turns = length * frequencies / (2 * math.pi)
    share = ((turns - low) / (high - low)).clamp(0, 1)
    return frequencies * (share + (1 - share) / factor)


class RelativeBias(nn.Module):
    """A learned number for every head and distance, by buckets that widen with the distance (T5: Raffel et al., 2020).

    Half of the `buckets` are for keys behind the query where it is not causal.
    """

    def __init__(self, *, heads: int, buckets: int = 32, farthest: int = 128, causal: bool = False) -> None:
        super().__init__()
        self.buckets, self.farthest, self.causal = buckets, farthest, causal
        self.weight = nn.Parameter(torch.zeros(buckets, heads))

    def forward(self, queries: int, keys: int) -> Tensor:
        """(heads, queries, keys); the last query stands at the last key."""
        find = _buckets if traced() else _known_buckets
        found = find(queries, keys, self.buckets, self.farthest, self.causal, self.weight.device)
        return self.weight[found].permute(2, 0, 1)


def _buckets(queries: int, keys: int, count: int, farthest: int, causal: bool, device: torch.device) -> Tensor:
    """(queries, keys): the bucket of each distance, one of `count`."""
    at = torch.arange(keys, device=device) - torch.arange(keys - queries, keys, device=device)[:, None]
    start = torch.zeros_like(at)
    if causal:
        distance = (-at).clamp_min(0)
    else:
        count //= 2
        start = (at > 0).long() * count
        distance = at.abs()
    exact = count // 2
    grown = (distance.float().clamp_min(1) / exact).log() / math.log(farthest / exact) * (count - exact)
    return start + torch.where(distance < exact, distance, (exact + grown.long()).clamp_max(count - 1))


@lru_cache(maxsize=8)
def _known_buckets(queries: int, keys: int, count: int, farthest: int, causal: bool, device: torch.device) -> Tensor:
    """The same, found once for all blocks of a network."""
    with torch.inference_mode(False):  # training may follow
        return _buckets(queries, keys, count, farthest, causal, device)


def sinusoids(positions: Tensor, dim: int, most: int = 0) -> Tensor:
    """Sines, then cosines, of whole numbers (...) at dim / 2 frequencies: (..., dim) (Vaswani et al., 2017).

    Those of numbers below `most` are computed once.
    """
    if most and not traced():
        return _known_sinusoids(most, dim, positions.device)[positions]
    return _sinusoids(positions, dim)


def _sinusoids(positions: Tensor, dim: int) -> Tensor:
    """In float64, since sines of large angles are far off in float32."""
    places = torch.arange(0, dim, 2, dtype=torch.float64, device=positions.device)
    angles = positions.double()[..., None] / 10000 ** (places / dim)
    return torch.cat([angles.sin(), angles.cos()[..., : dim // 2]], -1).float()


@lru_cache(maxsize=8)
def _known_sinusoids(count: int, dim: int, device: torch.device) -> Tensor:
    with torch.inference_mode(False):  # training may follow
        return _sinusoids(torch.arange(count, device=device), dim)


def interpolated(positions: Tensor, prefix: int, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
    """Learned positions (1, prefix + rows * columns, D) of a grid `old` for a grid `new`, bicubic, as timm does it.

    The first `prefix`, those of the class token and its like, stay (DeiT: Touvron et al., 2021).
    """
    if old == new:
        return positions
    grid = positions[:, prefix:].reshape(1, *old, -1).permute(0, 3, 1, 2).float()
    grid = F.interpolate(grid, size=new, mode="bicubic", antialias=True)
    flat = grid.permute(0, 2, 3, 1).reshape(1, new[0] * new[1], -1).to(positions.dtype)
    return torch.cat([positions[:, :prefix], flat], 1)
