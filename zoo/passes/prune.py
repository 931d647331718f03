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
from zoo.model.build import Model, from_state
from zoo.passes import Pruned
from zoo.passes.calibrated import chosen, divided, solve
from zoo.passes.data import as_calibration, count
from zoo.passes.decision import Decision
from zoo.passes.depth import dropped_blocks
from zoo.passes.groups import Group, channel_groups, entries, narrowed
from zoo.passes.importance import scores
from zoo.report.agreement import likeness
from zoo.spec import ModelSpec

ADVICE = "a hundred or more typical inputs, preprocessed, without labels"


def plan(model: Model, options: Pruned | None = None, *, data: Any = None, calibration: Any = None) -> Decision:
    """Choose the channels to keep, or the blocks to drop.

    `data` is labelled, for importance="taylor"; or inputs, for a number of blocks. `calibration` are inputs, for
    importance="calibrated", which "auto" stands for where there are some. Raises ValueError for a budget out of reach.
    """
    options = options or Pruned()
    drop_blocks, round_to = options.drop_blocks, options.round_to
    importance = options.criterion(calibration is not None)
    if drop_blocks is not None:
        if data is not None and not isinstance(drop_blocks, int):
            raise ValueError("data= finds the blocks of a number drop_blocks=; those named need none.")
        _check_float(model)
        gone = dropped_blocks(model, drop_blocks, data)
        return Decision("pruned", {"kept": {}, "dropped": gone}, {"drop_blocks": gone})
    if data is not None and importance != "taylor":
        raise ValueError(f'data= is for importance="taylor", and {importance!r} needs none.')
    _check_float(model)
    groups = [group for group in channel_groups(model.spec) if not group.frozen]
    floors = {group.name: _round(group, group.size * options.keep_at_least, round_to) for group in groups}
    if importance == "calibrated":
        return _calibrated(model, options, groups, floors, calibration)
    score = scores(model, groups, importance, data)
    target, share = options.target
    if target == "ratio":
        widths = {g.name: max(floors[g.name], _round(g, g.size * (1 - share), round_to)) for g in groups}
    else:
        widths = _within_budget(model.spec, groups, score, floors, round_to, target, share)
    kept = {name: sorted(score[name].topk(width).indices.tolist()) for name, width in widths.items()}
    kept = {group.name: kept[group.name] for group in groups if len(kept[group.name]) < group.size}
    recipe = {"importance": importance, target: share, "round_to": round_to or "8, 4 below 64"}
    return Decision("pruned", {"kept": kept}, recipe)


def _calibrated(
    model: Model, options: Pruned, groups: list[Group], floors: dict[str, int], calibration: Any
) -> Decision:
    """The channels and blocks whose loss changes the answers to `calibration` least; the rest solved again on it."""
    if calibration is None:
        raise ValueError(f'importance="calibrated" needs calibration=: {ADVICE}.')
    parts = divided(as_calibration(calibration, ADVICE, model.spec))
    target, share = options.target
    plain = from_state(model.spec, model.state_dict())
    with torch.inference_mode():
        kept, gone = chosen(plain, options, groups, floors, parts)
    choices = {"kept": kept, **({"dropped": gone} if gone else {})}
    bare = Decision("pruned", choices)
    small = from_state(respec(model.spec, bare), carry(model.state_dict(), model.spec, bare))
    with torch.inference_mode():
        solve(plain, small, kept, groups, parts)
    alike = likeness(small, plain, parts)
    recipe = {"importance": "calibrated", target: share, "round_to": options.round_to or "8, 4 below 64"}
    del alike["inputs"]  # answers, of which a text has several
    recipe |= {"examples": sum(map(count, parts)), **alike, **({"drop_blocks": gone} if gone else {})}
    return Decision("pruned", choices, recipe, small.state_dict())


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
                    at = torch.tensor(entries(axis, of_node[row.name, axis.space]), device=tensor.device)
                    tensor = tensor.index_select(dim, at)
            out[f"{row.name}.{key}"] = tensor.clone()
    return {**out, **decision.state}


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
