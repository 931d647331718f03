"""How many zeros each layer gets: where they cost the answers least, as measured on calibration inputs.

The error of a layer as its zeros grow is a curve (`Quadratic.search`). One trial or two, the dense network with
that layer alone sparse, say what the curve means to the answers: on inputs that the layer was not solved on.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor

from zoo import kinds, tasks
from zoo.model.build import Model
from zoo.passes.data import Batch, count, split
from zoo.passes.distance import distance
from zoo.passes.evidence import rows
from zoo.passes.places import own_system, places
from zoo.passes.quadratic import Quadratic, but_zeros, smallest_go
from zoo.passes.stream import Stream

TRIED = 32  # inputs that trials are measured on
MOST = 0.95  # share of a layer's weights that may go, where the network as a whole does not need more
CURVE = 18  # steps of the search that gives a curve
LARGE = 0.01  # share of the network's weights from which a layer is tried twice
BETWEEN = 4  # points of a curve between two steps
LEAST = 1e-9  # damage that is none


@dataclass(frozen=True)
class Loss:
    """What the answers lose when `zeros[k]` of a layer's weights are zero: `lost[k]`, growing."""

    zeros: list[int]
    lost: list[float]


def losses(model: Model, batches: Sequence[Batch], share: float) -> dict[str, Loss]:
    """Key of a layer's weight -> its loss. Trials have the `share` of zeros that the network is to have."""
    state, found = model.state_dict(), {}
    total = sum(map(count, batches))
    tried = min(TRIED, max(1, total // 4))
    batches, others = _parted(batches, total - tried) if total > 1 else (batches, batches)
    stream, trial = Stream(model, batches), Stream(model, others)
    last = stream.rows[-1]
    scores, classes = tasks.of(model.spec).scores, kinds.classes(model.spec)
    dense = list(map(scores, trial.ahead(last)))
    held = sum(state[place.key].numel() for row in model.spec for place in places(row))
    while stream.row is not None:
        for place in places(model.spec[stream.row]):
            system, start = own_system(stream, state, place), place.start(state)
            most = max(MOST, (1 + share) / 2)
            zeros, errors = _curve(system, start, most)
            measured = []
            for gone in (share, (share + most) / 2)[: 1 + (start.numel() >= LARGE * held)]:
                mask = system.search(but_zeros(smallest_go(round(gone * start.numel())), start), CURVE)
                weight = system.refit(mask, 15)
                module = copy.deepcopy(model.get_submodule(stream.row))
                place.set(module, state, weight, system.bias(weight), mask)
                answers = map(scores, trial.ahead(last, {stream.row: module}))
                damage = distance(dense, answers, classes=classes, any_scale=True)
                measured.append((float(system.error(weight).sum()), damage))
            found[place.key] = _scaled(zeros, errors, measured)
        stream.step()
        trial.step()
    return found


def _curve(system: Quadratic, start: Tensor, most: float) -> tuple[list[int], list[float]]:
    """The zeros and the error at each step of one search, up to the share `most`."""
    keep = but_zeros(smallest_go(round(most * start.numel())), start)
    zeros, errors = [int((start == 0).sum())], [0.0]
    grown: list[int] = []

    def watched(scores: Tensor, share: float) -> Tensor:
        mask = keep(scores, share)
        grown.append(int((~mask).sum()))
        return mask

    found = list[float]()
    system.search(watched, CURVE, found)
    return zeros + grown, errors + found[: len(grown)]


def _scaled(zeros: list[int], errors: list[float], measured: Sequence[tuple[float, float]]) -> Loss:
    """The curve brought to what was measured, pairs of error and damage, and points between its own."""
    (low, first), (high, second) = [(max(a, 1e-30), max(b, LEAST)) for a, b in (measured[0], measured[-1])]
    power = math.log(second / first) / math.log(high / low) if high > low * 1.01 else 1.0
    power = min(max(power, 1.0), 3.0)  # damage grows with the error, later faster
    points = [(zeros[0], 0.0)]
    for end, error in zip(zeros[1:], errors[1:], strict=True):
        (begin, before), after = points[-1], first * (error / low) ** (power if error > low else 1.0)
        after = max(before, after)
        for part in range(1, BETWEEN + 1):
            t = part / BETWEEN
            points.append((round(begin + t * (end - begin)), before ** (1 - t) * after**t if before else after * t**2))
    return Loss(*map(list, zip(*points, strict=True)))


def allotted(found: Mapping[str, Loss], zeros: int) -> dict[str, int]:
    """Key -> zeros, `zeros` in all, where the sum of the losses is least: by the lower hull of each curve."""
    steps: list[tuple[float, str, int]] = []
    for key, loss in found.items():
        hull: list[tuple[int, float]] = []
        for point in zip(loss.zeros, loss.lost, strict=True):
            while len(hull) > 1 and _slope(hull[-2], hull[-1]) >= _slope(hull[-2], point):
                hull.pop()
            hull.append(point)
        steps += [(_slope(a, b), key, b[0] - a[0]) for a, b in pairwise(hull)]
    wanted = {key: loss.zeros[0] for key, loss in found.items()}  # those that are there already
    left = max(0, zeros - sum(wanted.values()))
    for _, key, more in sorted(steps):
        taken = min(more, left)
        wanted[key] += taken
        left -= taken
    return wanted


def _slope(a: tuple[int, float], b: tuple[int, float]) -> float:
    return (b[1] - a[1]) / max(1, b[0] - a[0])


def _parted(batches: Sequence[Batch], first: int) -> tuple[list[Batch], list[Batch]]:
    """The `first` inputs, and those behind them."""
    sides: tuple[list[Batch], list[Batch]] = ([], [])
    for batch in batches:
        here = min(first, count(batch))
        if here:
            sides[0].append(split(batch, here)[0])
        if here < count(batch):
            sides[1].append(rows(batch, slice(here, None)))
        first -= here
    return sides
