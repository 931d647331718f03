"""`pruned`: whole channels leave for good, and the narrower network is what the spec says.

Channels that a skip shares narrow together. Oracle: the dense network with the dropped channels zeroed answers alike.
"""

from __future__ import annotations

import bisect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from zoo import kinds
from zoo.build import Model
from zoo.compress.decision import Decision
from zoo.compress.depth import dropped_blocks
from zoo.compress.groups import Group, channel_groups, narrowed
from zoo.compress.importance import scores
from zoo.spec import ModelSpec


def plan(
    model: Model,
    data: Any = None,
    *,
    ratio: float | None = None,
    macs: float | None = None,
    parameters: float | None = None,
    importance: str = "l2",
    round_to: int | None = None,
    keep_at_least: float = 0.1,
    drop_blocks: int | tuple[str, ...] | None = None,
) -> Decision:
    """Choose the channels to keep.

    One of three targets: `ratio`, the share of channels to drop in every group; or the share of `macs` or of
    `parameters` to keep, spent where channels matter most. Widths are multiples of `round_to` (8; 4 for groups narrower
    than 64; heads of attention go one by one), and no group falls below `keep_at_least` of its width. Instead,
    `drop_blocks` names whole Transformer blocks to drop, or says how many of those that change least on `data`. Raises
    ValueError for a budget out of reach.
    """
    targets = {"ratio": ratio, "macs": macs, "parameters": parameters}
    given = {name: value for name, value in targets.items() if value is not None}
    if drop_blocks is not None and not given:
        _check_float(model)
        gone = dropped_blocks(model, drop_blocks, data)
        return Decision("pruned", {"kept": {}, "dropped": gone}, {"dropped": gone})
    if drop_blocks is not None:
        raise ValueError("Blocks and channels are dropped one after the other: give drop_blocks= alone.")
    if len(given) != 1 or not all(isinstance(v, (int, float)) and 0 < v < 1 for v in given.values()):
        raise ValueError(f"Pruning takes one of ratio=, macs=, parameters=, between 0 and 1, not {given or 'none'}.")
    if round_to is not None and not (isinstance(round_to, int) and round_to >= 1):
        raise ValueError(f"round_to is a whole number of at least 1, not {round_to!r}.")
    if not (isinstance(keep_at_least, (int, float)) and 0 <= keep_at_least < 1):
        raise ValueError(f"keep_at_least is a share from 0 to below 1, not {keep_at_least!r}.")
    _check_float(model)
    groups = [group for group in channel_groups(model.spec) if not group.frozen]
    score = scores(model, groups, importance, data)
    floors = {group.name: _round(group, group.size * keep_at_least, round_to) for group in groups}
    if ratio is not None:
        widths = {g.name: max(floors[g.name], _round(g, g.size * (1 - ratio), round_to)) for g in groups}
    else:
        budget = macs if macs is not None else parameters
        assert budget is not None
        widths = _within_budget(model.spec, groups, score, floors, round_to, "macs" if macs else "parameters", budget)
    kept = {name: sorted(score[name].topk(width).indices.tolist()) for name, width in widths.items()}
    kept = {group.name: kept[group.name] for group in groups if len(kept[group.name]) < group.size}
    recipe = {"importance": importance, **given, "round_to": round_to or "8, 4 below 64"}
    return Decision("pruned", {"kept": kept}, recipe)


def _check_float(model: Model) -> None:
    narrow = sorted({row.precision for row in model.spec} - {"float32"})
    if narrow:
        raise ValueError(f"{model.spec.name} is {narrow[0]} already; prune the float network, then make it int8.")


def respec(spec: ModelSpec, decision: Decision) -> ModelSpec:
    gone = decision.choices.get("dropped", ())
    spec = spec.replace(rows=tuple(row for row in spec if row.name not in gone)) if gone else spec
    return narrowed(spec, {name: len(kept) for name, kept in decision.choices["kept"].items()})


def carry(state: Mapping[str, Tensor], spec: ModelSpec, decision: Decision) -> dict[str, Tensor]:
    """The dense state with only the kept entries of every axis that a narrowed group indexes."""
    kept = decision.choices["kept"]
    of_node = {node: kept[g.name] for g in channel_groups(spec) if g.name in kept for node in g.members}
    out = {}
    gone = decision.choices.get("dropped", ())
    for row in spec:
        if row.name in gone:
            continue
        for key, (_, axes) in kinds.state(row).items():
            tensor = state[f"{row.name}.{key}"]
            for dim, axis in enumerate(axes):
                if isinstance(axis, kinds.Axis) and (row.name, axis.space) in of_node:
                    tensor = tensor.index_select(dim, _positions(axis, of_node[row.name, axis.space]).to(tensor.device))
            out[f"{row.name}.{key}"] = tensor.clone()
    return out


def _positions(axis: kinds.Axis, kept: list[int]) -> Tensor:
    """The entries of the axis that belong to the kept channels, in order."""
    parts = torch.arange(axis.length).split([axis.size * entries for entries in axis.parts])
    return torch.cat([part.view(axis.size, -1)[torch.tensor(kept)].flatten() for part in parts])


def _round(group: Group, width: float, round_to: int | None) -> int:
    step = group.step if group.step == 1 else round_to or group.step
    return min(group.size, max(step, round(width / step) * step))


def _within_budget(
    spec: ModelSpec,
    groups: list[Group],
    score: dict[str, Tensor],
    floors: dict[str, int],
    round_to: int | None,
    measure: str,
    budget: float,
) -> dict[str, int]:
    """As few of the least important channels, ranked over all groups, as must go to fit the budget."""
    allowed = budget * getattr(kinds.cost(spec), measure)
    group_of = torch.cat([torch.full((g.size,), i) for i, g in enumerate(groups)])
    ranked = group_of[torch.cat([score[g.name] for g in groups]).argsort(stable=True)]

    def after(dropped: int) -> dict[str, int]:
        counts = torch.bincount(ranked[dropped:], minlength=len(groups)).tolist()
        return {
            g.name: max(floors[g.name], _round(g, count, round_to)) for g, count in zip(groups, counts, strict=True)
        }

    def fits(dropped: int) -> bool:
        return getattr(kinds.cost(narrowed(spec, after(dropped))), measure) <= allowed

    if not fits(len(ranked)):
        raise ValueError(
            f"{spec.name} cannot be pruned to {budget:.0%} of its {measure}; keep_at_least stands against it."
        )
    return after(bisect.bisect_left(range(len(ranked) + 1), True, key=fits))
