"""`sparse` in one shot: which weights go, and what the others become, found on calibration inputs without training.

Layers go in their order. Each sees what the sparse network really gives it, and is solved to make of that what its
dense weights make of it (`quadratic.py`). To aim at what the dense network gives there, with errors of earlier layers
mended, fits a few hundred calibration inputs too well: other inputs lose by it.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from zoo.model.build import Model
from zoo.passes import Sparse
from zoo.passes.data import BATCH, Batch, count, split
from zoo.passes.evidence import measured, sides
from zoo.passes.places import Place, own_system, places
from zoo.passes.quadratic import Keep, but_zeros, smallest_go, two_of_four
from zoo.passes.stream import PART, Stream
from zoo.passes.zeros import allotted, losses
from zoo.report.agreement import likeness


@torch.inference_mode()
def one_shot(model: Model, options: Sparse, batches: Sequence[Batch]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """(the entries of the state that are solved, what the record says of them)."""
    if all(isinstance(batch, Tensor) for batch in batches):
        batches = torch.cat(list(batches)).split(BATCH)  # type: ignore[arg-type]  # however they came
    examples = sum(map(count, batches))
    parts = [part for batch in batches for part in split(batch, max(1, min(PART, examples // 4)))]
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
    small, trial = copy.deepcopy(model), copy.deepcopy(model)
    keeps = {key: but_zeros(keep, starts[key]) for key, keep in keeps.items()}
    solve(model, small, batches, keeps)
    solved = {key: value for key, value in small.state_dict().items() if not torch.equal(value, state[key])}
    if examples == 1:
        return solved, {"examples": examples}
    seen, others = sides(parts)
    solve(model, trial, seen, keeps)
    return solved, {"examples": examples, **measured(likeness(trial, model, others))}


def has_fours(shape: Sequence[int]) -> bool:
    """Whether a weight (O, C, ...) has inputs that go by fours."""
    return shape[1] % 4 == 0


def solve(dense: Model, small: Model, batches: Sequence[Batch], keeps: Mapping[str, Keep]) -> None:
    """Make the layers of `small`, a copy of `dense`, sparse in place: those that `keeps` has, by their keys."""
    here = Stream(small, batches)
    before = dense.state_dict()
    while here.row is not None:
        for place in places(dense.spec[here.row]):
            if place.key in keeps:
                _solve(here, before, place, keeps[place.key])
        here.step()


def _solve(stream: Stream, before: Mapping[str, Tensor], place: Place, keep: Keep) -> None:
    assert stream.row is not None
    system = own_system(stream, before, place)
    mask = system.search(keep)
    solved = system.refit(mask)
    place.set(stream.model.get_submodule(stream.row), before, solved, system.bias(solved), mask)
