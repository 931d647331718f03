"""The normal equations of a layer: sums of products of what it takes and what it should give.

`Gram` sums them up batch by batch; `solve` is ridge least squares on them, towards weights that are there already.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo import kinds
from zoo.blocks.padding import borders

POSITIONS = 20_480  # of all inputs together that a layer is judged by: more change nothing, and cost time
FEW = 8  # times fewer positions for a depthwise layer, which has few weights for each channel
RIDGES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)  # shares of the mean square of the inputs, tried one after another
_ROWS = 4096  # summed in float32 before they go to float64
_NARROW = 64  # inputs with which sums in float64 cost little; a kernel's window may be all but constant


@dataclass
class Gram:
    """Sums over positions of products of inputs x, a constant 1 behind them, and targets y, in float64.

    `xx` (..., C + 1, C + 1), `xy` (..., C + 1, O), `yy` (..., O); a depthwise layer has one of each a channel in front.
    """

    count: int = 0
    xx: Tensor = field(default_factory=lambda: torch.zeros(()))
    xy: Tensor = field(default_factory=lambda: torch.zeros(()))
    yy: Tensor = field(default_factory=lambda: torch.zeros(()))

    def add(self, x: Tensor, y: Tensor | None = None) -> None:
        """`x` (..., N, C) and `y` (..., N, O): N more positions. Without `y`, `xx` alone grows."""
        x = F.pad(x, (0, 1), value=1.0)
        if x.shape[-1] <= _NARROW:
            x, y = x.double(), None if y is None else y.double()
        self.count += x.shape[-2]
        for start in range(0, x.shape[-2], _ROWS):
            part = x[..., start : start + _ROWS, :]
            self.xx = self.xx + (part.mT @ part).double()
            if y is not None:
                target = y[..., start : start + _ROWS, :]
                self.xy = self.xy + (part.mT @ target).double()
                self.yy = self.yy + target.double().square().sum(-2)

    def __add__(self, other: Gram) -> Gram:
        return Gram(self.count + other.count, self.xx + other.xx, self.xy + other.xy, self.yy + other.yy)

    def through_zero(self) -> Gram:
        """The same without the constant: what is solved on it has a bias of 0."""
        xx, xy = self.xx.clone(), self.xy.clone()
        xx[..., -1, :] = 0.0
        xx[..., :, -1] = 0.0
        xx[..., -1, -1] = float(self.count)
        if xy.dim():
            xy[..., -1, :] = 0.0
        return Gram(self.count, xx, xy, self.yy)

    def error(self, weight: Tensor) -> Tensor:
        """The sum of squared errors (..., O) that `weight` (..., C + 1, O), bias last, leaves."""
        left = self.yy - 2 * (weight * self.xy).sum(-2) + (weight * (self.xx @ weight)).sum(-2)
        return left.clamp_min(0.0)

    def scale(self) -> Tensor:
        """The mean square of an input, (..., 1, 1): what a ridge is a share of. The sum is over all positions."""
        squares = self.xx.diagonal(dim1=-2, dim2=-1)[..., :-1]
        return squares.mean(-1)[..., None, None].clamp_min(1e-12)

    def solve(self, start: Tensor, ridge: float) -> Tensor:
        """The weights (..., C + 1, O) of least squared error plus `ridge` times the squared distance from `start`.

        The bias is free of the ridge. A system that is singular has a solution too: near `start`.
        """
        penalty = torch.ones(self.xx.shape[-1], dtype=self.xx.dtype, device=self.xx.device)
        penalty[-1] = 1e-9
        system = self.xx + torch.diag(penalty) * (ridge * self.scale())
        return start + cholesky_solve(self.xy - self.xx @ start, system)


def best_solution(halves: Sequence[Gram], start: Tensor, ridges: Sequence[float] = RIDGES) -> Tensor:
    """Weights solved on all positions with the ridge that errs least where it has not seen: each half judges the other.

    Never worse than `start` on the halves that judge: where no ridge gains, `start` itself.
    """
    first, second = halves
    errors = {}
    for ridge in ridges:
        crossed = [judge.error(seen.solve(start, ridge)).sum() for seen, judge in ((first, second), (second, first))]
        errors[ridge] = float(sum(crossed))
    best = min(errors, key=lambda ridge: errors[ridge])
    whole = first + second
    if not errors[best] < float(whole.error(start).sum()):
        return start
    return whole.solve(start, best)


def cholesky_solve(right: Tensor, system: Tensor) -> Tensor:
    """`system` (..., n, n), symmetric and not negative, solved for `right`; a singular one is made regular."""
    return torch.cholesky_solve(right, cholesky(system))


def cholesky(system: Tensor) -> Tensor:
    """The lower factor of `system` (..., n, n), symmetric and not negative; a singular one is made regular."""
    scale = system.diagonal(dim1=-2, dim2=-1).mean(-1)[..., None, None].clamp_min(1e-30)
    eye = torch.eye(system.shape[-1], dtype=system.dtype, device=system.device)
    for ridge in (0.0, 1e-10, 1e-8, 1e-6, 1e-4, 1e-2, 1.0):
        factor, failed = torch.linalg.cholesky_ex(system + eye * (ridge * scale))
        if not failed.any():
            return factor
    raise ValueError(
        "The products of what a layer takes on the calibration inputs are too large for float64, or not finite: give "
        "inputs as zoo.preprocess makes them."
    )


class Columns:
    """Picks the same positions of what a layer takes and gives, and lays the window of each out as one row.

    `layer` is the layer; `inputs` how many inputs there are in all, which share `POSITIONS` evenly.
    """

    def __init__(self, layer: kinds.Layer, inputs: int, seed: int = 0) -> None:
        self.layer = layer
        self.each = max(1, -(-POSITIONS // (inputs * (FEW if layer.depthwise else 1))))
        self.seed = seed

    def taken(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """What the layer takes, (B, C, H, W) or (B, ..., C), to (N, C * k * k); depthwise to (C, N, k * k).

        `mask` (B, tokens) says which tokens count: padding does not.
        """
        layer = self.layer
        if x.dim() != 4 or layer.linear:
            return self._tokens(x, mask)
        x = x.contiguous()
        height, width = (-(-side // layer.stride) for side in x.shape[2:])
        at = self._chosen(height * width, x.device)
        if layer.kernel == 1:
            grid = x[:, :, :: layer.stride, :: layer.stride].flatten(2)[:, :, at]  # (B, C, n)
            return grid.transpose(0, 1).flatten(1)[..., None] if layer.depthwise else grid.mT.flatten(0, 1)
        x = F.pad(x, borders(x.shape[2:], layer.kernel, layer.stride, layer.dilation, layer.padding))
        if 2 * len(at) > height * width:  # most of them: all are laid out quicker than some are picked
            windows = F.unfold(x, layer.kernel, layer.dilation, stride=layer.stride)[:, :, at]
        else:
            reach = torch.arange(layer.kernel, device=x.device) * layer.dilation
            window = (reach[:, None] * x.shape[3] + reach).flatten()
            corners = at // width * layer.stride * x.shape[3] + at % width * layer.stride
            windows = x.flatten(2)[:, :, window[:, None] + corners].flatten(1, 2)  # (B, C * k * k, n)
        if layer.depthwise:
            return windows.unflatten(1, (x.shape[1], -1)).permute(1, 0, 3, 2).flatten(1, 2)
        return windows.mT.flatten(0, 1)

    def given(self, y: Tensor, mask: Tensor | None = None) -> Tensor:
        """What the layer gives, (B, O, H, W) or (B, ..., O), to (N, O); depthwise to (O, N, 1)."""
        if y.dim() != 4 or self.layer.linear:
            return self._tokens(y, mask)
        picked = y.flatten(2)[:, :, self._chosen(y.shape[2] * y.shape[3], y.device)]  # (B, O, n)
        return picked.transpose(0, 1).flatten(1)[..., None] if self.layer.depthwise else picked.mT.flatten(0, 1)

    def _tokens(self, x: Tensor, mask: Tensor | None) -> Tensor:
        if x.dim() == 2:
            return x
        x = x.flatten(1, -2)
        if mask is not None:
            x = x[mask.bool()]  # (tokens of all, C)
            return x[self._chosen(len(x), x.device, self.each * len(mask))]
        return x[:, self._chosen(x.shape[1], x.device)].flatten(0, 1)

    def _chosen(self, places: int, device: torch.device, most: int | None = None) -> Tensor:
        """Which places, the same for every input: all, where there are not more than wanted."""
        order = torch.randperm(places, generator=torch.Generator().manual_seed(self.seed + places))
        return order[: most or self.each].sort().values.to(device)


def as_columns(layer: kinds.Layer, weight: Tensor, bias: Tensor) -> Tensor:
    """A folded weight (O, C, k, k) or (O, C) and bias (O,) as (C * k * k + 1, O); depthwise as (O, k * k + 1, 1)."""
    flat = torch.cat([weight.double().flatten(1), bias.double()[:, None]], 1)
    return flat[..., None] if layer.depthwise else flat.T


def of_columns(layer: kinds.Layer, columns: Tensor, shape: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Weight of that shape and bias: the inverse of `as_columns`."""
    flat = columns[..., 0] if layer.depthwise else columns.T
    return flat[:, :-1].reshape(*shape), flat[:, -1].contiguous()
