"""One scale for a residual stream: a runtime that rounds products before their sum answers as one that does not.

The shortcut, what is added to it and their sum have one scale `s` and zero points of their own. A sum of codes is then
a code: `round(product / s) + shortcut` is `round(product / s + shortcut)`. Where no projection lies between two blocks,
the sum of the first is the shortcut of the second: all sums up to the next projection are one stream.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
import torch.nn as nn
from torch import Tensor

from zoo import kinds
from zoo.passes.observers import Histogram, edge_range
from zoo.spec import Block, ModelSpec

ADDED = "+"  # the place in a row where something is added to the shortcut
Place = tuple[str, str]  # row and edge

_CLIPS = ("none", "relu", "relu6")  # what may follow a sum that is a code
_SHARES = 36  # of the widest range, that are tried
_ZEROS = 16  # zero points that are tried with each


def edges_of(row: Block) -> tuple[str, ...]:
    return kinds.KINDS[row.kind].edges(kinds.arguments(row))


def hand_over_codes(before: Block, row: Block) -> bool:
    """Whether codes pass between neighbours that both have edges."""
    return not (kinds.KINDS[before.kind].float_io or kinds.KINDS[row.kind].float_io)


def streams(spec: ModelSpec, rows: Sequence[Block]) -> list[list[Place]]:
    """The places of `rows` that share a scale, stream by stream.

    A tensor between two rows has one place, that of the row that makes it.
    """
    ranged = {row.name for row in rows}
    found: dict[Place, list[Place]] = {}
    before: Block | None = None
    for row in spec.rows:
        if row.name in ranged:
            edges = edges_of(row)
            found |= {(row.name, edge): [(row.name, edge)] for edge in edges}
            if before and before.name in ranged and edges and hand_over_codes(before, row):
                found[row.name, edges[0]] = found[before.name, edges_of(before)[-1]]
            added = kinds.residual(row)
            if added and added.after in _CLIPS:
                stream = found[row.name, edges[-1]] = found[row.name, added.shortcut]
                stream += [(row.name, ADDED), (row.name, edges[-1])]
        before = row
    return [stream for place, stream in found.items() if len(stream) > 1 and place == stream[0]]


def watch_added(module: nn.Module, added: kinds.Sum, look: Callable[[Tensor], None]) -> None:
    """Show `look`, by hooks, what is added to the row's shortcut, less what the activation behind the sum clips.

    That is what the row's output has more than its shortcut. Products beyond it make no difference.
    """
    if added.after not in _CLIPS:
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
    tried = []
    for share in torch.linspace(0.3, 1.0, _SHARES, dtype=torch.float64).tolist():
        scale = _widest(whole.values()) * share
        zeros = {place: _best_zero(one, scale, whole[place], place[1] != ADDED) for place, one in histograms.items()}
        tried.append((sum(lost for lost, _ in zeros.values()), scale, zeros))
    _, scale, zeros = min(tried, key=lambda one: one[0])
    return {place: (scale, zero) for place, (_, zero) in zeros.items()}


def _widest(ranges: Iterable[tuple[float, float]]) -> float:
    """The scale whose codes cover the widest of them."""
    return max(max(high - low for low, high in ranges) / 255, 1e-8)


def _best_zero(histogram: Histogram, scale: float, ends: tuple[float, float], rounds: bool) -> tuple[float, int]:
    """(squared error, zero point) of the zero point that loses least at that scale; `ends` are all that was seen."""
    assert histogram.counts is not None
    first, last = _code(-ends[0] / scale), _code(255 - ends[1] / scale)  # nothing is clipped below, and above
    zeros = torch.linspace(first, min(first, last), _ZEROS, dtype=torch.float64).round_().unique()
    values = histogram.centers / scale
    codes = values.round() if rounds else values
    codes = torch.minimum(torch.maximum(codes, -zeros[:, None]), 255 - zeros[:, None])
    errors = (codes - values).square_().mul_(histogram.counts).sum(1) * scale**2
    best = int(errors.argmin())
    return float(errors[best]), int(zeros[best])


def _code(x: float) -> int:
    return min(255, max(0, round(x)))
