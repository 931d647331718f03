"""`sparse` in one shot: which weights go, and what the others become, found on calibration inputs without training.

Layers go in their order. Each sees what the sparse network really gives it, and is solved to give what the dense one
gives (`quadratic.py`); the last layer before a residual sum makes up for its shortcut too.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo import kinds
from zoo.model.build import Model
from zoo.passes import Sparse
from zoo.passes.data import BATCH, Batch, count
from zoo.passes.gram import Gram, as_columns
from zoo.passes.places import Place, Reader, places, shortcut
from zoo.passes.quadratic import Keep, Quadratic, but_zeros, smallest_go, two_of_four
from zoo.passes.stream import Stream
from zoo.passes.zeros import allotted, losses
from zoo.tasks.metrics import choices, percent_equal


@torch.inference_mode()
def one_shot(model: Model, options: Sparse, batches: Sequence[Batch]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """(the entries of the state that are solved, what the record says of them)."""
    if all(isinstance(batch, Tensor) for batch in batches):
        batches = torch.cat(list(batches)).split(BATCH)  # type: ignore[arg-type]  # however they came
    state = model.state_dict()
    found = [place for row in model.spec for place in places(row)]
    weights = {place.key: state[place.key] for place in found}
    if options.pattern == "2:4":
        keeps = {
            place.key: two_of_four(1 if place.layer.linear else place.layer.kernel**2)
            for place in found
            if has_fours(weights[place.key].shape)
        }
    else:
        share, sizes = options.sparsity, {key: weight.numel() for key, weight in weights.items()}
        if options.scope == "global":
            wanted = allotted(losses(model, batches, share), round(share * sum(sizes.values())))
        else:
            wanted = {key: round(share * size) for key, size in sizes.items()}
        keeps = {key: smallest_go(zeros) for key, zeros in wanted.items() if zeros}
    starts = {place.key: place.start(state) for place in found}
    small = copy.deepcopy(model)
    keeps = {key: but_zeros(keep, starts[key]) for key, keep in keeps.items()}
    dense, sparse = solve(model, small, batches, keeps)
    solved = {key: value for key, value in small.state_dict().items() if not torch.equal(value, state[key])}
    return solved, {"examples": sum(map(count, batches)), **alike(model, dense, sparse)}


def alike(model: Model, dense: Sequence[Tensor], sparse: Sequence[Tensor]) -> dict[str, float]:
    """How the answers compare, for the record: the percentage of classes that agree, or the mean cosine of vectors."""
    one, other = (torch.cat([answers.flatten(0, -2) for answers in many]) for many in (dense, sparse))
    if kinds.classes(model.spec):
        return {"agreement": round(percent_equal(choices(one), choices(other)), 1)}
    return {"cosine": round(float(F.cosine_similarity(one, other, dim=-1).mean()), 4)}


def has_fours(shape: Sequence[int]) -> bool:
    """Whether a weight (O, C, ...) has inputs that go by fours."""
    return shape[1] % 4 == 0


def solve(
    dense: Model, small: Model, batches: Sequence[Batch], keeps: Mapping[str, Keep]
) -> tuple[list[Tensor], list[Tensor]]:
    """Make the layers of `small`, a copy of `dense`, sparse in place: those that `keeps` has, by their keys.

    The answers of both to the calibration inputs.
    """
    there, here = Stream(dense, batches), Stream(small, batches)
    before = dense.state_dict()
    while there.row is not None:
        for place in places(dense.spec[there.row]):
            if place.key in keeps:
                _solve(there, here, before, place, keeps[place.key], Reader(place, here))
        there.step()
        here.step()
    return there.inputs, here.inputs


def _solve(there: Stream, here: Stream, before: Mapping[str, Tensor], place: Place, keep: Keep, reader: Reader) -> None:
    assert there.row is not None
    weight, bias = place.folded(before)
    columns = as_columns(place.layer, weight, bias)
    gram = Gram()
    sources = zip(there.taken(place.path), here.taken(place.path), _lacking(there, here, place), strict=True)
    for part, (x, sparse, lacks) in enumerate(sources):
        y = F.pad(reader.taken(part, x), (0, 1), value=1.0) @ columns.float()
        if lacks is not None:
            y = y + reader.given(part, lacks)
        gram.add(reader.taken(part, sparse), y)
    system = Quadratic.of(gram, place.start(before), biased=place.biased)
    mask, _ = system.search(keep)
    solved = system.refit(mask)
    place.set(here.model.get_submodule(there.row), here.model.state_dict(), solved, system.bias(solved), mask)


def _lacking(there: Stream, here: Stream, place: Place) -> Iterator[Tensor | None]:
    """What the shortcut beside the layer lacks in the sparse network; the layer makes up for it."""
    source = shortcut(place)
    if source is None:
        yield from [None] * len(there.inputs)
        return
    for dense, sparse in zip(source(there), source(here), strict=True):
        yield dense - sparse
