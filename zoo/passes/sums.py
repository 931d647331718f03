"""One scale for a residual stream: a runtime that rounds products before their sum answers as one that does not.

The shortcut, what is added to it and their sum have one scale `s` and zero points of their own. A sum of codes is then
a code: `round(product / s) + shortcut` is `round(product / s + shortcut)`. Where no projection lies between two blocks,
the sum of the first is the shortcut of the second: all sums up to the next projection are one stream.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
import torch.nn as nn
from torch import Tensor

from zoo import kinds
from zoo.checks import noted
from zoo.kinds.streams import ADDED, CLIPS, Place, edges_of
from zoo.model.build import Model
from zoo.passes.observers import Histogram, edge_range

_SHARES = 36  # of the widest range, that are tried
_ZEROS = 16  # zero points that are tried with each


def watch_added(module: nn.Module, added: kinds.Sum, look: Callable[[Tensor], None]) -> None:
    """Show `look`, by hooks, what is added to the row's shortcut, less what the activation behind the sum clips.

    That is what the row's output has more than its shortcut. Products beyond it make no difference.
    """
    if added.after not in CLIPS:
        module.get_submodule(added.part).register_forward_hook(lambda m, x, y: look(y))
        return
    shortcut: dict[str, Tensor] = {}
    if added.shortcut == "in":
        module.register_forward_pre_hook(lambda m, x: shortcut.update(now=x[0]))
    else:
        module.get_submodule(added.shortcut).register_forward_hook(lambda m, x, y: shortcut.update(now=y))
    module.register_forward_hook(lambda m, x, y: look(y - shortcut.pop("now")))


def with_one_scale(histograms: Mapping[Place, Histogram], observer: str) -> dict[Place, tuple[float, int]]:
    """The scale of all places, and the zero point of each, by the named observer.

    minmax and percentile: the widest of their ranges. mse: the scale that loses least by squared error over all places;
    what is added loses by clipping alone, since its rounding is that of the sum.
    """
    if observer != "mse":
        ranges = {place: edge_range(histogram, observer) for place, histogram in histograms.items()}
        scale = _widest(ranges.values())
        return {place: (scale, _code(-low / scale)) for place, (low, _) in ranges.items()}
    whole = {place: edge_range(histogram, "minmax") for place, histogram in histograms.items()}
    filled = {place: histogram.filled for place, histogram in histograms.items()}
    tried = []
    for share in torch.linspace(0.3, 1.0, _SHARES, dtype=torch.float64).tolist():
        scale = _widest(whole.values()) * share
        zeros = {place: _best_zero(one, scale, whole[place], place[1] != ADDED) for place, one in filled.items()}
        tried.append((sum(lost for lost, _ in zeros.values()), scale, zeros))
    _, scale, zeros = min(tried, key=lambda one: one[0])
    return {place: (scale, zero) for place, (_, zero) in zeros.items()}


def rescaled(model: Model, edges: Mapping[str, Sequence[Sequence[float]]]) -> dict[str, list[float]]:
    """Row -> the range of what its shortcut is added to, as calibration saw it, on the scale that training has learned.

    `model` is in quantization-aware training, with these edges. Rows are left out whose shortcut and sum have scales of
    their own, and those that no calibration saw. Raises ValueError for what is no range.
    """
    told: Any = next(
        (one.get("sums", {}) for one in reversed(noted(model.made, "passes")) if one.get("pass") == "qat"), {}
    )
    found = {}
    for row in model.spec.rows:
        added = kinds.residual(row)
        if not added or row.name not in edges or not isinstance(told, Mapping) or row.name not in told:
            continue
        scale, at_start = edges[row.name][-1][0], told[row.name]
        if edges[row.name][edges_of(row).index(added.shortcut)][0] == scale:
            zero = _zero_point(at_start, row.name)
            found[row.name] = [-zero * scale, (255 - zero) * scale]
    return found


def _zero_point(ends: Any, name: str) -> int:
    numbers = isinstance(ends, list) and len(ends) == 2 and all(isinstance(end, (int, float)) for end in ends)
    if not numbers or not -math.inf < ends[0] <= 0 <= ends[1] < math.inf or ends[0] == ends[1]:
        raise ValueError(f"Its quantization-aware training notes no range of the sums of row {name!r}: {ends!r}.")
    return _code(-ends[0] * 255 / (ends[1] - ends[0]))


def _widest(ranges: Iterable[tuple[float, float]]) -> float:
    """The scale whose codes cover the widest of them."""
    return max(max(high - low for low, high in ranges) / 255, 1e-8)


def _best_zero(
    filled: tuple[Tensor, Tensor], scale: float, ends: tuple[float, float], rounds: bool
) -> tuple[float, int]:
    """(squared error, zero point) of the zero point that loses least at that scale; `ends` are all that was seen."""
    first, last = _code(-ends[0] / scale), _code(255 - ends[1] / scale)  # nothing is clipped below, and above
    last = min(first, last)
    # evenly from the last to the first, each once
    zeros = sorted({round(last + (first - last) * place / (_ZEROS - 1)) for place in range(_ZEROS)})
    offsets = torch.tensor(zeros, dtype=torch.float64)[:, None]
    values = filled[0] / scale
    codes = values.round() if rounds else values
    codes = torch.minimum(torch.maximum(codes, -offsets), 255 - offsets)
    errors = codes.sub_(values).square_().mul_(filled[1]).sum(1)
    best = int(errors.argmin())
    return float(errors[best]) * scale**2, zeros[best]


def _code(x: float) -> int:
    return min(255, max(0, round(x)))
