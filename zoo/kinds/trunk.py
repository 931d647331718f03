"""What a network's trunk is made of: the last map of every resolution, as detectors and segmenters want them, and
stacks of Transformer blocks."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from zoo.kinds.costs import row_shapes
from zoo.kinds.rows import KINDS, arguments
from zoo.spec import Block, ModelSpec

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


@dataclass(frozen=True)
class Stack:
    """Transformer blocks one behind another, and the row whose output the first of them takes."""

    before: str
    blocks: tuple[Block, ...]

    def into(self, block: str) -> str:
        """The row whose output `block` takes."""
        names = [self.before, *(row.name for row in self.blocks)]
        return names[names.index(block, 1) - 1]


def stacks(spec: ModelSpec) -> tuple[Stack, ...]:
    """The blocks of the encoder, or of the one stream of tokens that there is, and those of a decoder behind it."""
    found: list[Stack] = []
    for part in parts(spec):
        blocks = tuple(row for row in part if KINDS[row.kind].droppable and "heads" in row.args)
        before = part[part.index(blocks[0]) - 1].name if blocks and blocks[0] != part[0] else "input"
        found.append(Stack(before, blocks))
    return tuple(found)


def parts(spec: ModelSpec) -> tuple[tuple[Block, ...], ...]:
    """The rows, cut where those of a decoder behind an encoder begin."""
    starts = [place for place, row in enumerate(spec) if KINDS[row.kind].takes_targets]
    cuts = [0, *starts[:1], len(spec.rows)]
    return tuple(spec.rows[first:last] for first, last in pairwise(cuts))
