"""What a layer's weights cost: the squared error of what it gives, with the best bias, on calibration inputs.

`Quadratic` finds the weights of least error among those with so many zeros, by the alternating directions method of
multipliers (Boža, 2024; Meng et al., 2024). Its error is below that of eliminating weights one block of columns after
another (SparseGPT: Frantar and Alistarh, 2023), and all rows are solved by the same few products.

Shapes: G systems (1, or the channels of a depthwise layer), O outputs of each, C inputs of each.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from zoo.passes.gram import Gram, cholesky_solve

STEPS = 24  # of the alternating directions; zeros grow in the first two thirds
LEAST_RIDGE = 0.1  # a share of the mean variance of an input: less fits the calibration inputs alone

Keep = Callable[[Tensor, float], Tensor]  # (scores (G, O, C), how far the zeros have grown, 0 to 1) -> what stays


@dataclass(frozen=True)
class Quadratic:
    """(w - best) hessian (w - best)', summed over outputs, is what weights w (G, O, C) cost more than `best`.

    `hessian` (G, C, C) and `best` (G, O, C) are in float64. `taken` (G, 1, C) and `given` (G, O) are the means of what
    the layer takes and should give: zeros where the layer has no bias.
    """

    hessian: Tensor
    best: Tensor
    taken: Tensor
    given: Tensor

    @classmethod
    def of(cls, gram: Gram, start: Tensor, *, biased: bool = True) -> Quadratic:
        """The costs on the positions of `gram`, plus a ridge towards `start` (G, O, C).

        The ridge is the share of inputs to positions: what is known of few positions binds little.
        """
        xx, xy = _systems(gram.xx) / gram.count, _systems(gram.xy) / gram.count
        taken, given = xx[..., -1:, :-1], xy[..., -1, :]
        if not biased:
            taken, given = torch.zeros_like(taken), torch.zeros_like(given)
        hessian = xx[..., :-1, :-1] - taken.mT @ taken
        products = xy[..., :-1, :] - taken.mT @ given[..., None, :]
        squares = hessian.diagonal(dim1=-2, dim2=-1).mean(-1)[..., None, None].clamp_min(0.0)
        ridge = max(LEAST_RIDGE, hessian.shape[-1] / gram.count)
        rounding = 4e-6 * xx.diagonal(dim1=-2, dim2=-1)[..., :-1].sum(-1)[..., None, None]  # of sums in float32
        penalty = ridge * squares + rounding + 1e-6 * squares.mean() + 1e-12  # constant inputs have no curvature
        hessian = hessian + penalty * torch.eye(hessian.shape[-1], dtype=hessian.dtype, device=hessian.device)
        best = cholesky_solve(products + penalty * start.mT, hessian).mT
        return cls(hessian, best, taken, given)

    def error(self, weight: Tensor) -> Tensor:
        """What `weight` costs, (G, O)."""
        away = weight - self.best
        return ((away @ self.hessian) * away).sum(-1)

    def bias(self, weight: Tensor) -> Tensor:
        """The best bias beside `weight`, (G, O)."""
        return self.given - (weight * self.taken).sum(-1)

    def scale(self) -> Tensor:
        """By what a weight is multiplied for its magnitude to say what it does to the output, (G, 1, C)."""
        return self.hessian.diagonal(dim1=-2, dim2=-1)[..., None, :].sqrt()

    def search(self, keep: Keep, steps: int = STEPS, errors: list[float] | None = None) -> Tensor:
        """Which weights stay: those of least error that `keep` lets stay. Into `errors` goes the error after each step.

        `keep` is asked with scores, and how far the zeros have grown.
        """
        scale = self.scale()
        unit = (self.hessian / scale.mT / scale).float()
        wanted = (self.best * scale).float()
        eye = torch.eye(unit.shape[-1], device=unit.device)
        inverse, pull = torch.linalg.inv((unit + eye).double()).float(), wanted @ unit
        free, force, grown = wanted, torch.zeros_like(wanted), max(1, 2 * steps // 3)
        mask = torch.ones_like(wanted, dtype=torch.bool)
        for step in range(1, steps + 1):
            if step <= grown:
                mask = keep((free + force).abs(), 1 - (1 - step / grown) ** 3)
            held = (free + force) * mask
            if errors is not None:
                away = held - wanted
                errors.append(float(((away @ unit) * away).sum()))
            force = force + free - held
            free = (pull + held - force) @ inverse
        return mask

    def refit(self, mask: Tensor, steps: int = 40) -> Tensor:
        """The weights of least error that are zero outside of `mask`: conjugate gradients, all outputs together."""
        mask = mask.to(self.best.dtype)
        step_of = self.hessian.diagonal(dim1=-2, dim2=-1)[..., None, :]
        weight = self.best * mask
        left = ((self.best - weight) @ self.hessian) * mask
        way = left / step_of
        size = (left * way).sum(-1, keepdim=True)
        enough = size * 1e-20
        for _ in range(steps):
            if bool((size <= enough).all()):  # exact but for rounding
                break
            bent = (way @ self.hessian) * mask
            length = size / (way * bent).sum(-1, keepdim=True).clamp_min(1e-300)
            weight, left = weight + length * way, left - length * bent
            fresh = left / step_of
            before, size = size, (left * fresh).sum(-1, keepdim=True)
            way = fresh + size / before.clamp_min(1e-300) * way
        return weight


def _systems(x: Tensor) -> Tensor:
    return x if x.dim() == 3 else x[None]


def smallest_go(zeros: int) -> Keep:
    """Keeps all but the `zeros` smallest of a layer, ties by position; exactly so many once they have grown."""

    def keep(scores: Tensor, grown: float) -> Tensor:
        return without_smallest(scores, round(zeros * grown))

    return keep


def two_of_four(window: int) -> Keep:
    """Keeps the two largest of every four neighbouring inputs, at each of `window` places of a kernel by itself."""

    def keep(scores: Tensor, grown: float) -> Tensor:
        best = four_groups(scores, window)
        return without_smallest(torch.where(best, torch.inf, scores), round(grown * scores.numel() / 2))

    return keep


def but_zeros(keep: Keep, weight: Tensor) -> Keep:
    """`keep`, where zeros that `weight` has already go first and stay."""
    there = weight != 0
    if bool(there.all()):
        return keep
    return lambda scores, grown: keep(torch.where(there, scores, -1.0), grown) & there


def without_smallest(scores: Tensor, zeros: int) -> Tensor:
    """A mask (bool) of all but the `zeros` smallest, of equal ones those that come first."""
    if zeros <= 0:
        return torch.ones_like(scores, dtype=torch.bool)
    flat = scores.flatten()
    flat = flat.float() if flat.element_size() == 2 else flat  # not every torch selects among halves
    last = flat.kthvalue(min(zeros, len(flat))).values  # a sort takes five times as long
    mask = ~(flat <= last)  # nan counts as large
    equal = (flat == last).nonzero()[:, 0]
    mask[equal[zeros - int((flat < last).sum()) :]] = True
    return mask.view(scores.shape)


def four_groups(scores: Tensor, window: int) -> Tensor:
    """Which of `scores` (..., C * window) are the two largest of their four; C is divisible by 4."""
    groups = scores.reshape(*scores.shape[:-1], -1, 4, window)
    best = groups.argsort(dim=-2, descending=True, stable=True)[..., :2, :]
    return torch.zeros_like(groups, dtype=torch.bool).scatter_(-2, best, True).view(scores.shape)
