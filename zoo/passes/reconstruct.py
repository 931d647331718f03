"""After channels have left: each layer is solved again, so that it gives what the dense one gives.

Layers go in their order, and each sees what the smaller network really gives it: errors of before are mended where
weights can. The last layer of a residual row makes up for its shortcut too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import torch
from torch import Tensor

from zoo import kinds
from zoo.model.build import Model
from zoo.passes.data import Batch
from zoo.passes.gram import RIDGES, Columns, Gram, as_columns, best_solution, of_columns
from zoo.passes.groups import entries
from zoo.passes.places import Place, places
from zoo.passes.stream import Stream
from zoo.spec import Block


def reconstruct(
    dense: Model, small: Model, channels: Mapping[tuple[str, str], list[int]], batches: Sequence[Batch], inputs: int
) -> None:
    """Solve the layers of `small` in place. `channels` has the kept ones, (row, space), of narrowed spaces.

    Rows of `dense` that `small` lacks have left.
    """
    there, here = Stream(dense, batches), Stream(small, batches)
    same = True
    while there.row is not None:
        name = there.row
        if name != here.row:  # it was left out
            there.step()
            continue
        row = dense.spec[name]
        behind = _left_behind(there.rows, name, here.rows)
        same = same and not behind and not any((name, space) in channels for space in kinds.layer_widths(row))
        if not same:
            for place in _in_order(row):
                _solve(there, here, place, channels, behind, inputs)
        there.step()
        here.step()


def _left_behind(rows: Sequence[str], name: str, kept: Sequence[str]) -> str | None:
    """The last of the rows right behind `name` that have left."""
    last = None
    for row in rows[rows.index(name) + 1 :]:
        if row in kept:
            break
        last = row
    return last


def _in_order(row: Block) -> list[Place]:
    """The row's layers as they run, those beside the others first: the sum makes up for them."""
    return sorted(places(row), key=lambda place: not place.layer.from_row_input)


def _solve(
    there: Stream,
    here: Stream,
    place: Place,
    channels: Mapping[tuple[str, str], list[int]],
    behind: str | None,
    inputs: int,
) -> None:
    row, layer = place.row, place.layer
    gives = f"{place.path}.bn".lstrip(".") if layer.norm else place.path
    columns = Columns(layer, inputs)
    halves = Gram(), Gram()  # a part of the inputs goes to the one, the next to the other
    kept = channels.get((row.name, layer.target))
    axis_of = kinds.Axis(layer.target, kinds.layer_widths(row)[layer.target], layer.target_parts)
    at = torch.tensor(entries(axis_of, kept)) if kept is not None else None
    more_of = _missing(there, here, place, channels, behind)
    for part, (x, y, more, mask) in enumerate(
        zip(here.taken(place.path), there.given(gives), more_of, here.masks_of(layer.source), strict=True)
    ):
        y = y if at is None else y.index_select(1 if y.dim() == 4 else -1, at)
        y = y if more is None else y + more
        halves[part % 2].add(columns.taken(x, mask), columns.given(y, mask))
    if not halves[1].count:
        return
    if not place.biased:
        halves = halves[0].through_zero(), halves[1].through_zero()
    state = here.model.state_dict()
    weight, bias = place.folded(state)
    solved = best_solution(halves, as_columns(layer, weight, bias), _ridges(halves))
    fresh = place.unfolded(state, *of_columns(layer, solved, weight.shape))
    place.load(here.model.get_submodule(row.name), fresh)


def _missing(
    there: Stream,
    here: Stream,
    place: Place,
    channels: Mapping[tuple[str, str], list[int]],
    behind: str | None,
) -> Iterator[Tensor | None]:
    """What the layer must give beside its own target: what the shortcut lacks, and rows that have left behind it."""
    row, layer = place.row, place.layer
    total = kinds.residual(row)
    sums = shortcut(row, place.path)
    last = place == _in_order(row)[-1] or (total is not None and place.path == total.part)
    linear = layer.activation == "none" and not (total and total.after != "none") and there.repeats == 1
    kept = channels.get((row.name, "out"))
    nothing: list[None] = [None] * len(there.inputs)
    short = zip(sums(there), sums(here), strict=True) if sums and layer.activation == "none" else nothing
    gone = zip(there.ahead(behind), there.ahead(row.name), strict=True) if behind and last and linear else nothing
    for one, two in zip(short, gone, strict=True):
        more = None
        if one is not None:
            more = _picked(one[0], kept) - one[1]
        if two is not None:
            lost = _picked(two[0] - two[1], kept)
            more = lost if more is None else more + lost
        yield more


def _picked(x: Tensor, kept: list[int] | None) -> Tensor:
    return x if kept is None else x.index_select(1 if x.dim() == 4 else -1, torch.tensor(kept))


def shortcut(row: Block, path: str) -> Callable[[Stream], Iterable[Tensor]] | None:
    """A function of a stream that gives what is added to the output of the row's part; None where nothing is."""
    taken = kinds.KINDS[row.kind].added_to(kinds.arguments(row))
    if path in taken:
        return lambda stream: stream.taken(taken[path]) if taken[path] else stream.inputs
    total = kinds.residual(row)
    if total is None or path != total.part:
        return None
    return lambda stream: stream.inputs if total.shortcut == "in" else stream.given(total.shortcut)


def _ridges(halves: Sequence[Gram]) -> Sequence[float]:
    """Those worth a trial: fewer positions than weights for one output need a strong one."""
    few = halves[0].count < halves[0].xx.shape[-1]
    return RIDGES[-2:] if few else RIDGES
