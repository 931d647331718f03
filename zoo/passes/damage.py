"""What the network's answers lose when channels of one group leave, or one block: measured on calibration inputs."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn as nn
from torch import Tensor

from zoo import kinds, tasks
from zoo.model.build import Model
from zoo.passes.data import Batch, count
from zoo.passes.distance import distance
from zoo.passes.elimination import Curve, Reading, eliminated
from zoo.passes.gram import Columns, Gram, as_columns, of_columns
from zoo.passes.groups import Group
from zoo.passes.readers import Reader, readers
from zoo.passes.stream import Stream

TRIED = (0.15, 0.45)  # shares of a group that leave for trial
MOST_BLOCKS = 8  # that leave
CLOSEST = 4  # blocks that are tried together with those that have left
LEAST = 1e-9  # damage that is no damage

Change = Mapping[str, nn.Module | None]  # row -> what stands in its place; None: nothing


@dataclass(frozen=True)
class Loss:
    """What the answers lose when channels of one group leave in `order`: `lost[k]` when k of them have."""

    order: list[int]
    lost: list[float]


def input_grams(model: Model, found: Iterable[Reader], batches: Sequence[Batch]) -> dict[str, Gram]:
    """Prefix of each reader -> the Gram of what it takes."""
    inputs = sum(map(count, batches))
    of_row: dict[str, list[Reader]] = {}
    for reader in found:
        of_row.setdefault(reader.row.name, []).append(reader)
    grams: dict[str, Gram] = {}
    stream = Stream(model, batches)
    while stream.row is not None:
        for reader in of_row.get(stream.row, ()):
            gram = grams[reader.prefix] = Gram()
            columns = Columns(reader.layer, inputs)
            masks = stream.masks_of(reader.layer.source)
            for x, mask in zip(stream.taken(reader.path), masks, strict=True):
                gram.add(columns.taken(x, mask))
            if not reader.biased:
                grams[reader.prefix] = gram.through_zero()
        stream.step()
    return grams


def group_losses(
    model: Model,
    groups: Sequence[Group],
    floors: Mapping[str, int],
    batches: Sequence[Batch],
    trial: Sequence[Batch],
) -> dict[str, Loss]:
    """Group -> its loss; groups that nothing reads, or that cannot narrow, are left out."""
    state = model.state_dict()
    of_group = {group.name: readers(model.spec, group) for group in groups}
    grams = input_grams(model, (one for found in of_group.values() for one in found), batches)
    curves: dict[str, Curve] = {}
    trials: list[tuple[str, int]] = []  # (group, channels that left)
    changes: list[Change] = []
    for group in groups:
        found = of_group[group.name]
        most = group.size - floors[group.name]
        if not found or most <= 0:
            continue
        readings = [_reading(state, reader, grams[reader.prefix]) for reader in found]
        curve = curves[group.name] = eliminated(readings, group.size, most, group.step)
        for share in TRIED:
            gone = min(most, round(group.size * share))
            if gone:
                trials.append((group.name, gone))
                changes.append(_without(model, state, found, readings, curve.order[:gone]))
    measured: dict[str, dict[int, float]] = {name: {} for name in curves}
    for (name, gone), damage in zip(trials, _measured(model, changes, trial), strict=True):
        measured[name][gone] = damage
    return {name: _scaled(curve, measured[name]) for name, curve in curves.items()}


def block_losses(model: Model, blocks: Mapping[str, float], trial: Sequence[Batch]) -> list[tuple[list[str], float]]:
    """(blocks that leave, what the answers lose without them): one more each time, the one of least loss for its cost.

    `blocks` has the cost of each. Those that lose least alone are tried together.
    """
    gone: list[str] = []
    lost = 0.0
    found = [(list(gone), lost)]
    candidates = list(blocks)
    while candidates and len(found) <= MOST_BLOCKS:
        sets = [[*gone, block] for block in candidates]
        losses = _measured(model, [dict.fromkeys(rows) for rows in sets], trial)
        ranked = sorted(range(len(sets)), key=lambda place: (losses[place] - lost) / blocks[candidates[place]])
        gone, lost = sets[ranked[0]], losses[ranked[0]]
        found.append((gone, lost))
        candidates = [candidates[place] for place in ranked[1 : 1 + CLOSEST]]
    return found


def _measured(model: Model, changes: Sequence[Change], trial: Sequence[Batch]) -> list[float]:
    """What the answers lose by each of the changes; the rows before a change run once for all."""
    stream = Stream(model, trial)
    last = stream.rows[-1]
    task = tasks.of(model.spec)
    scores = task.scores
    dense = list(map(scores, stream.ahead(last)))
    begins = [min(change, key=stream.rows.index) for change in changes]
    losses, classes = [0.0] * len(changes), 0 if task.objects else kinds.outputs(model.spec)
    while stream.row is not None:
        for place, change in enumerate(changes):
            if begins[place] == stream.row:
                losses[place] = distance(dense, map(scores, stream.ahead(last, change)), classes=classes)
        stream.step()
    return losses


def _reading(state: Mapping[str, Tensor], reader: Reader, gram: Gram) -> Reading:
    return Reading(gram, as_columns(reader.layer, *reader.folded(state)), reader.entries, reader.first)


def _without(
    model: Model,
    state: Mapping[str, Tensor],
    found: Sequence[Reader],
    readings: Sequence[Reading],
    gone: Sequence[int],
) -> Change:
    """The rows whose readers are solved again without the channels `gone`."""
    changed: dict[str, nn.Module] = {}
    for reader, reading in zip(found, readings, strict=True):
        name = reader.row.name
        if name not in changed:
            changed[name] = copy.deepcopy(model.get_submodule(name))
        shape = reader.folded(state)[0].shape
        solved = of_columns(reader.layer, reading.without(torch.tensor(gone)), shape)
        reader.load(changed[name], reader.unfolded(state, *solved))
    return changed


def _scaled(curve: Curve, measured: Mapping[int, float]) -> Loss:
    """The curve, brought to what was measured: its exponent and factor change from one trial to the next."""
    lost = []
    known = [(gone, max(curve.damage[gone], LEAST), max(value, LEAST)) for gone, value in sorted(measured.items())]
    for gone, damage in enumerate(curve.damage):
        if damage <= LEAST:
            lost.append(LEAST * gone / max(1, len(curve.order)))
            continue
        after = next((i for i, (at, _, _) in enumerate(known) if at >= gone), len(known) - 1)
        before = max(0, after - 1) if known[after][0] >= gone else after
        (_, low, low_value), (_, high, high_value) = known[before], known[after]
        if before == after or high <= low * 1.0001:
            lost.append(damage / high * high_value)
        else:
            t = (torch.tensor(damage / low).log() / torch.tensor(high / low).log()).item()
            lost.append(low_value * (high_value / low_value) ** t)
    for gone in range(1, len(lost)):
        lost[gone] = max(lost[gone], lost[gone - 1])
    return Loss(curve.order, lost)
