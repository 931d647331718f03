"""The levels of a network's trunk: the last map of every resolution, as detectors and segmenters want them."""

from __future__ import annotations

from dataclasses import dataclass

from zoo.kinds.costs import row_shapes
from zoo.kinds.rows import KINDS, arguments
from zoo.spec import ModelSpec

HEAD = "head"  # the row that widens the last map for the classifier; no level, in timm neither


@dataclass(frozen=True)
class Level:
    """What the row called `row` puts out: `channels` at ceil(size / reduction)."""

    row: str
    channels: int
    reduction: int


def levels(spec: ModelSpec) -> tuple[Level, ...]:
    """One level a reduction, the largest map first: the last row of the trunk at that reduction.

    The trunk ends before the row called "head", before a head, or before the first row that gives no map. Raises
    SpecError as `row_costs`.
    """
    found: dict[int, Level] = {}
    reduction = 1
    reductions = {"input": 1}
    for row, shape in zip(spec, row_shapes(spec), strict=True):
        if row.name == HEAD or KINDS[row.kind].role == "head" or len(shape) != 3:
            break
        kind, args = KINDS[row.kind], arguments(row)
        if kind.reduction:
            reduction = kind.reduction(args, reduction, *(reductions[tap] for tap in row.taps))
        else:
            reduction *= args.get("stride", 1)
        reductions[row.name] = reduction
        if reduction:
            found[reduction] = Level(row.name, shape[0], reduction)
    return tuple(found[reduction] for reduction in sorted(found))
