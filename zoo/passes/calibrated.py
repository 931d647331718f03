"""Pruning by calibration: what the network's answers to some inputs lose decides what leaves, and what stays is solved
again on these inputs. Neither labels nor training are needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from zoo import kinds
from zoo.model.build import Model
from zoo.passes import Pruned
from zoo.passes.allot import allotted
from zoo.passes.damage import Loss, block_losses, group_losses
from zoo.passes.data import Batch, count, split
from zoo.passes.evidence import spread
from zoo.passes.groups import Group, channel_groups, kept_channels
from zoo.passes.reconstruct import reconstruct
from zoo.spec import ModelSpec

MOST = 256  # inputs that are used, at even distances: more take longer and change little
LEAST = 2
PART = 16  # inputs that run together
HELD_OUT = (2, 5, 7)  # of every eight parts: losses are measured on these, the other ones say what to take away


def chosen(
    model: Model, options: Pruned, groups: Sequence[Group], floors: Mapping[str, int], parts: Sequence[Batch]
) -> tuple[dict[str, list[int]], list[str]]:
    """(group -> the channels that stay, blocks that leave), for the target of `options`; `parts` are of `divided`."""
    held_out = [part for place, part in enumerate(parts) if place % 8 in HELD_OUT] or list(parts)
    seen = [part for place, part in enumerate(parts) if place % 8 not in HELD_OUT]
    target, share = options.target
    losses = group_losses(model, groups, floors, seen, held_out)
    groups = [group for group in groups if group.name in losses]
    widths = {group.name: _widths(group, floors[group.name], options.round_to) for group in groups}
    if target == "ratio":
        gone: list[str] = []
        best = {g.name: min(widths[g.name], key=lambda width, g=g: abs(width - g.size * (1 - share))) for g in groups}  # type: ignore[misc]
    else:
        costs = {
            row.name: getattr(cost, target) for row, cost in zip(model.spec, kinds.row_costs(model.spec), strict=True)
        }
        without = block_losses(model, {block: costs[block] for block in _droppable(model.spec)}, held_out)
        best, gone = allotted(model.spec, groups, losses, without, widths, target, share)
    kept = {
        group.name: _kept(group, losses[group.name], best[group.name])
        for group in groups
        if best[group.name] < group.size and not all(row in gone for row, _ in group.members)
    }
    return kept, gone


def divided(batches: Sequence[Batch]) -> list[Batch]:
    """`MOST` inputs at most, in parts of equal size. Raises ValueError for fewer than `LEAST`."""
    total = min(MOST, sum(map(count, batches)))
    if total < LEAST:
        raise ValueError(f"Pruning by calibration takes {LEAST} inputs or more, and better a hundred, not {total}.")
    size = max(1, min(PART, total // 4))
    return [part for batch in spread(batches, MOST) for part in split(batch, size)]


def solve(model: Model, small: Model, kept: Mapping[str, list[int]], parts: Sequence[Batch]) -> None:
    """Solve the layers of `small`, which is `model` with the channels `kept`, in place."""
    reconstruct(model, small, kept_channels(channel_groups(model.spec), kept), parts, sum(map(count, parts)))


def _droppable(spec: ModelSpec) -> list[str]:
    """Rows without which the next one still gets what it can take: a shortcut from their input, no taps."""
    found = []
    tapped = {name for row in spec for name in row.taps}
    for row in spec:
        if row.name in tapped:
            continue
        total = kinds.residual(row)
        if kinds.KINDS[row.kind].droppable or (total is not None and total.shortcut == "in"):
            found.append(row.name)
    return found


def _widths(group: Group, floor: int, round_to: int | None) -> list[int]:
    step = group.step if group.step == 1 else round_to or group.step
    return [width for width in range(group.size, floor - 1, -1) if width == group.size or width % step == 0]


def _kept(group: Group, loss: Loss, width: int) -> list[int]:
    return sorted(set(range(group.size)) - set(loss.order[: group.size - width]))
