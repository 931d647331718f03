"""Residual streams: the places in a network's rows whose int8 codes have one scale. No torch."""

from __future__ import annotations

from collections.abc import Sequence

from zoo.kinds.rows import KINDS, arguments, residual
from zoo.spec import Block, ModelSpec

ADDED = "+"  # the place in a row where something is added to the shortcut
CLIPS = ("none", "relu", "relu6")  # what may follow a sum that is a code
Place = tuple[str, str]  # row and edge


def edges_of(row: Block) -> tuple[str, ...]:
    return KINDS[row.kind].edges(arguments(row))


def hand_over_codes(before: Block, row: Block) -> bool:
    """Whether codes pass between neighbours that both have edges."""
    return not (KINDS[before.kind].float_io or KINDS[row.kind].float_io)


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
            added = residual(row)
            if added and added.after in CLIPS:
                stream = found[row.name, edges[-1]] = found[row.name, added.shortcut]
                stream += [(row.name, ADDED), (row.name, edges[-1])]
        before = row
    return [stream for place, stream in found.items() if len(stream) > 1 and place == stream[0]]
