"""What the network's answers lose when channels of one group leave, or one block: measured on calibration inputs."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from zoo import kinds
from zoo.model.build import Model
from zoo.passes.data import Batch
from zoo.passes.elimination import Curve, Reading, eliminated
from zoo.passes.folding import folded, unfolded
from zoo.passes.gram import Columns, Gram, as_columns, of_columns
from zoo.passes.groups import Group
from zoo.passes.readers import Reader, readers
from zoo.passes.stream import Stream

TRIED = (0.15, 0.45)  # shares of a group that leave for trial
MOST_BLOCKS = 8  # that leave
CLOSEST = 4  # blocks that are tried together with those that have left
LEAST = 1e-9  # damage that is no damage


@dataclass(frozen=True)
class Loss:
    """What the answers lose when channels of one group leave in `order`: `lost[k]` when k of them have."""

    order: list[int]
    lost: list[float]


def input_grams(model: Model, found: Iterable[Reader], batches: Sequence[Batch], inputs: int) -> dict[str, Gram]:
    """Prefix of each reader -> the Gram of what it takes."""
    of_row: dict[str, list[Reader]] = {}
    for reader in found:
        of_row.setdefault(reader.row, []).append(reader)
    grams: dict[str, Gram] = {}
    stream = Stream(model, batches)
    while stream.row is not None:
        for reader in of_row.get(stream.row, ()):
            gram = grams[reader.prefix] = Gram()
            columns = Columns(reader.layer, inputs)
            for x, mask in zip(stream.taken(reader.path), stream.masks, strict=True):
                gram.add(columns.taken(x, mask))
            if not (reader.layer.norm or reader.layer.bias):
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
    inputs = sum(len(next(iter(b.values())) if isinstance(b, Mapping) else b) for b in batches)
    grams = input_grams(model, (one for found in of_group.values() for one in found), batches, inputs)
    curves: dict[str, Curve] = {}
    trials: dict[str, list[tuple[str, int, dict[str, nn.Module | None]]]] = {}
    places = {row.name: place for place, row in enumerate(model.spec)}
    for group in groups:
        found = of_group[group.name]
        most = group.size - floors[group.name]
        if not found or most <= 0:
            continue
        readings = [_reading(state, reader, grams[reader.prefix]) for reader in found]
        solving = [_reading(state, reader, grams[reader.prefix]) for reader in found]
        curve = curves[group.name] = eliminated(readings, group.size, most, group.step)
        first = min((reader.row for reader in found), key=places.__getitem__)
        for share in TRIED:
            gone = min(most, round(group.size * share))
            if gone:
                changed = _without(model, state, found, solving, curve.order[:gone])
                trials.setdefault(first, []).append((group.name, gone, changed))
    measured = _measured(model, trial, trials)
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
        losses = _without_rows(model, sets, trial)
        ranked = sorted(range(len(sets)), key=lambda place: (losses[place] - lost) / blocks[candidates[place]])
        gone, lost = sets[ranked[0]], losses[ranked[0]]
        found.append((gone, lost))
        candidates = [candidates[place] for place in ranked[1 : 1 + CLOSEST]]
    return found


def _without_rows(model: Model, sets: Sequence[Sequence[str]], trial: Sequence[Batch]) -> list[float]:
    """What the answers lose without each of these sets of rows."""
    stream = Stream(model, trial)
    last = stream.rows[-1]
    dense = list(stream.ahead(last))
    losses = [0.0] * len(sets)
    while stream.row is not None:
        for place, rows in enumerate(sets):
            if stream.row == min(rows, key=stream.rows.index):
                losses[place] = lost(model, dense, stream.ahead(last, dict.fromkeys(rows)))
        stream.step()
    return losses


def _reading(state: Mapping[str, Tensor], reader: Reader, gram: Gram) -> Reading:
    weight, bias = folded(state, reader.prefix, reader.layer, reader.eps)
    return Reading(gram, as_columns(reader.layer, weight, bias), reader.entries)


def _without(
    model: Model,
    state: Mapping[str, Tensor],
    found: Sequence[Reader],
    solving: Sequence[Reading],
    gone: Sequence[int],
) -> dict[str, nn.Module | None]:
    """The rows whose readers are solved again without the channels `gone`."""
    changed: dict[str, nn.Module] = {}
    for reader, reading in zip(found, solving, strict=True):
        module = changed.setdefault(reader.row, copy.deepcopy(model.get_submodule(reader.row)))
        shape = folded(state, reader.prefix, reader.layer, reader.eps)[0].shape
        weight, bias = of_columns(reader.layer, reading.without(torch.tensor(gone)), shape)
        fresh = unfolded(state, reader.prefix, reader.layer, reader.eps, weight, bias)
        module.load_state_dict(
            {key.removeprefix(f"{reader.row}."): value for key, value in fresh.items()}, strict=False
        )
    return dict(changed)


def _measured(
    model: Model,
    batches: Sequence[Batch],
    trials: Mapping[str, list[tuple[str, int, dict[str, nn.Module | None]]]],
) -> dict[str, dict[int, float]]:
    """Group or block -> channels that left -> what the answers lose. Trials stand under the first row they change."""
    stream = Stream(model, batches)
    last = stream.rows[-1]
    dense = list(stream.ahead(last))
    measured: dict[str, dict[int, float]] = {}
    while stream.row is not None:
        for name, gone, changed in trials.get(stream.row, ()):
            measured.setdefault(name, {})[gone] = lost(model, dense, stream.ahead(last, changed))
        stream.step()
    return measured


def lost(model: Model, dense: Sequence[Tensor], answers: Iterable[Tensor]) -> float:
    """How far answers are from the dense network's: the mean KL divergence of classes, else the relative error."""
    total, power, count = 0.0, 0.0, 0
    classes = bool(kinds.outputs(model.spec))
    for wanted, given in zip(dense, answers, strict=True):
        if classes:
            wanted, given = (F.log_softmax(one.flatten(0, -2).double(), -1) for one in (wanted, given))
            total += float((wanted.exp() * (wanted - given)).sum())
            count += len(wanted)
        else:
            total += float((wanted - given).double().square().sum())
            power += float(wanted.double().square().sum())
    return max(0.0, total / count if classes else total / max(power, 1e-30))


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
