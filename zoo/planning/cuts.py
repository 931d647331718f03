"""Where to cut the rows of a network into stages: the best contiguous split, by dynamic programming over rows.

As in PipeDream (Harlap et al., 2018), the slowest stage sets the pace. A split is the places where its stages begin,
without the first: (3, 7) of ten rows is the stages 0-2, 3-6 and 7-9.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from itertools import accumulate

Cuts = tuple[int, ...]


def best(
    rows: int,
    stages: int,
    cost: Callable[[int, int, int], float],
    least: Callable[[int, int], float] = lambda first, last: 0.0,
) -> Cuts | None:
    """The split whose costliest stage costs least; of equal ones, that whose stages cost least together.

    Args:
        rows (int): how many there are.
        stages (int): of one row at least.
        cost (Callable): (stage, first row, row behind the last) -> its cost, infinite where it does not fit.
        least (Callable): (first row, row behind the last) -> what the stage costs at least, which grows with every row
            more; it spares looking at stages that are too long. Default: nothing.

    Returns:
        The split, or None where none fits.
    """
    if not 1 <= stages <= rows:
        return None
    known: dict[tuple[int, int, int], float] = {}

    def of(stage: int, first: int, last: int) -> float:
        if (stage, first, last) not in known:
            known[stage, first, last] = cost(stage, first, last)
        return known[stage, first, last]

    worst, _ = _split(rows, stages, of, least, max)
    if math.isinf(worst):
        return None

    def bounded(stage: int, first: int, last: int) -> float:
        return found if (found := of(stage, first, last)) <= worst else math.inf

    def short(first: int, last: int) -> float:
        return math.inf if least(first, last) > worst else 0.0

    return _split(rows, stages, bounded, short, operator.add)[1]


def _split(
    rows: int,
    stages: int,
    cost: Callable[[int, int, int], float],
    least: Callable[[int, int], float],
    joined: Callable[[float, float], float],
) -> tuple[float, Cuts]:
    """The least cost of all stages, joined, and its split."""
    value = [0.0] + [math.inf] * rows  # of the rows before each place, in as many stages as there are so far
    came: list[list[int]] = []
    for stage in range(stages):
        after, origin = [math.inf] * (rows + 1), [0] * (rows + 1)
        for last in range(stage + 1, rows + 1) if stage < stages - 1 else (rows,):
            for first in range(last - 1, stage - 1, -1):
                if least(first, last) > after[last] or math.isinf(least(first, last)):
                    break
                if value[first] < math.inf and (found := joined(value[first], cost(stage, first, last))) < after[last]:
                    after[last], origin[last] = found, first
        value = after
        came.append(origin)
    places, last = list[int](), rows
    for origin in reversed(came):
        last = origin[last]
        places.append(last)
    return value[rows], tuple(reversed(places[:-1]))


def even(weights: Sequence[float], stages: int) -> Cuts:
    """The split that weighs the stages as evenly as can be: by rows where all weigh 1, or by parameters."""
    sums = [0.0, *accumulate(weights)]

    def weight(first: int, last: int) -> float:
        return sums[last] - sums[first]

    found = best(len(weights), stages, lambda stage, first, last: weight(first, last), weight)
    if found is None:
        raise ValueError(f"{len(weights)} rows make no {stages} stages.")
    return found


def spans(cuts: Cuts, rows: int) -> tuple[tuple[int, int], ...]:
    """(first row, row behind the last) of each stage."""
    return tuple(zip((0, *cuts), (*cuts, rows), strict=True))
