"""Places in a network's rows whose int8 codes have one scale: tensors between rows, residual streams. No torch."""

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
    """Whether codes pass between rows that both have edges."""
    return not (KINDS[before.kind].float_io or KINDS[row.kind].float_io)


def takes_codes(row: Block) -> bool:
    """Whether the row takes codes of rows that it taps."""
    return row.precision in ("int8", "qat") and not KINDS[row.kind].float_io


def with_edges(spec: ModelSpec, rows: Sequence[Block], precision: str = "int8") -> list[Block]:
    """Those of `rows` that have the precision. A branch has it where what it takes up can be codes."""
    found: dict[str, Block] = {}
    wanted = {row.name for row in rows if precision in KINDS[row.kind].precisions}
    for row in spec:
        coded = not KINDS[row.kind].branches or (
            row.taps[0] in found and hand_over_codes(found[row.taps[0]], row) and bool(edges_of(found[row.taps[0]]))
        )
        if row.name in wanted and coded:
            found[row.name] = row
    return list(found.values())


def sources(spec: ModelSpec, rows: Sequence[Block]) -> dict[Place, Block | None]:
    """Each edge of `rows` -> the one of them whose codes come in there, None where that is none of them."""
    ranged = {row.name for row in rows}
    found: dict[Place, Block | None] = {}
    before: Block | None = None
    for row in spec:
        for edge in edges_of(row) if row.name in ranged else ():
            source = before if edge == "in" else None
            if edge.startswith("tap") and (name := row.taps[int(edge.removeprefix("tap"))]) != "input":
                source = spec[name]
            gives = source and source.name in ranged and edges_of(source) and hand_over_codes(source, row)
            found[row.name, edge] = source if gives else None
        before = row
    return found


def makers(spec: ModelSpec, rows: Sequence[Block]) -> dict[Place, Place]:
    """Each edge of `rows` -> the edge that makes the tensor there, itself where that is none of theirs."""
    found: dict[Place, Place] = {}
    for place, source in sources(spec, rows).items():
        found[place] = found[source.name, edges_of(source)[-1]] if source else place
    return found


def streams(spec: ModelSpec, rows: Sequence[Block]) -> list[list[Place]]:
    """The places of `rows` that share a scale, stream by stream.

    A tensor between two rows has one place, that of the row that makes it.
    """
    maker = makers(spec, rows)
    found: dict[Place, list[Place]] = {place: [place] for place in maker.values()}
    for row in spec.rows:
        added = residual(row) if (row.name, "out") in maker else None
        if added and added.after in CLIPS:
            out = (row.name, "out")
            stream = found[out] = found[maker[row.name, added.shortcut]]
            stream += [(row.name, ADDED), out]
    return [stream for place, stream in found.items() if len(stream) > 1 and place == stream[0]]


def joined(spec: ModelSpec, rows: Sequence[Block]) -> list[list[Place]]:
    """The places of `rows` whose codes are the same, because a row joins them as they are; in the order of the rows.

    Of streams, whose zero points are chosen one by one, none is joined.
    """
    maker = makers(spec, rows)
    apart = {place for stream in streams(spec, rows) for place in stream}
    found: dict[Place, list[Place]] = {}
    for row in spec.rows:
        out = maker.get((row.name, "out"))
        if out is None or out in apart:
            continue
        for edge in KINDS[row.kind].one_code:
            place = maker.get((row.name, edge))
            if place is None or place in apart:
                continue
            ours, theirs = found.setdefault(place, [place]), found.setdefault(out, [out])
            if ours is not theirs:
                ours += theirs
                found |= dict.fromkeys(theirs, ours)
    order = {place: number for number, place in enumerate(maker)}
    return [
        sorted(places, key=order.__getitem__)
        for place, places in found.items()
        if len(places) > 1 and place == places[0]
    ]
