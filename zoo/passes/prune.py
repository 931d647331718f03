"""`pruned`: whole channels leave for good, and the narrower network is what the spec says.

Channels that a skip shares narrow together. Oracle: the dense network with the dropped channels zeroed answers alike.
"""

from __future__ import annotations

import bisect
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from zoo import kinds
from zoo.checks import noted
from zoo.model.build import Model, from_state
from zoo.passes import Pruned
from zoo.passes.calibrated import chosen, divided, solve
from zoo.passes.data import Uncalibrated, as_calibration, count
from zoo.passes.decision import Decision
from zoo.passes.depth import dropped_blocks
from zoo.passes.embeddings import carried, lanes, occurrences, rare_rows, without_rows
from zoo.passes.evidence import distinct, measured, sides
from zoo.passes.groups import Group, channel_groups, entries, kept_channels, narrowed, of_part, parted
from zoo.passes.importance import scores
from zoo.report.agreement import likeness
from zoo.spec import Block, ModelSpec

ADVICE = "a hundred or more preprocessed inputs, typical ones, without labels"


def plan(model: Model, options: Pruned | None = None, *, data: Any = None, calibration: Any = None) -> Decision:
    """Choose the channels to keep, or the blocks to drop.

    `data` is labelled, for importance="taylor"; or inputs, for a number of blocks. `calibration` are inputs, for
    importance="calibrated", which "auto" stands for where there are some. Raises ValueError for a budget out of reach.
    """
    options = options or Pruned()
    drop_blocks, round_to = options.drop_blocks, options.round_to
    importance = options.criterion(calibration is not None and not model.spec.input.embedded)
    if drop_blocks is not None:
        if data is not None and not isinstance(drop_blocks, int):
            raise ValueError("data= finds the blocks of a number drop_blocks=; those named need none.")
        _check_float(model)
        gone = dropped_blocks(model, drop_blocks, data)
        return Decision("pruned", {"kept": {}, "dropped": gone}, {"drop_blocks": gone})
    if data is not None and importance != "taylor":
        raise ValueError(f'data= is for importance="taylor", and {importance!r} needs none.')
    _check_float(model)
    counts, rare = _counted(model, options, calibration)
    found = [group for group in channel_groups(model.spec) if not group.frozen]
    ragged = [group for group in found if group.parts]
    groups = [*(group for group in found if not group.parts), *(part for group in ragged for part in parted(group))]
    floors = {group.name: _round(group, group.size * options.keep_at_least, round_to) for group in groups}
    if importance == "calibrated":
        if model.spec.input.embedded:
            raise ValueError(f'importance="calibrated" is for pictures and texts; take "l2" for {model.spec.name}.')
        return _calibrated(model, options, groups, floors, calibration)
    target, share = options.target
    score = scores(model, [group for group in groups if group.members], importance, data)
    orders: dict[str, list[int]] = {}
    for group in ragged:
        costs = {name: _saved(model.spec, name, size, target) for name, size in _parts(group)}
        of_parts, order = lanes(model.spec, model.state_dict(), group, counts, costs)
        score |= of_parts
        orders |= order
    if options.min_count is not None and not options.given_target:  # rows alone leave
        groups, ragged = [], []
    if not groups:
        widths = {}
    elif target == "ratio":
        widths = {g.name: max(floors[g.name], _round(g, g.size * (1 - share), round_to)) for g in groups}
    else:
        allowed = share * getattr(kinds.cost(model.spec), target)
        widths = _within_budget(without_rows(model.spec, rare), groups, score, floors, round_to, target, share, allowed)
    kept = {
        name: orders[name][:width] if name in orders else sorted(score[name].topk(width).indices.tolist())
        for name, width in widths.items()
    }
    narrower = {name for group in ragged if not _whole(group, widths) for name, _ in _parts(group)}
    kept = {g.name: kept[g.name] for g in groups if len(kept[g.name]) < g.size or g.name in narrower}
    recipe = {"importance": importance, target: share, "round_to": round_to or "8, 4 below 64"} if groups else {}
    if options.min_count is not None:
        recipe |= {"min_count": options.min_count, "rows_gone": sum(len(one["gone"]) for one in rare.values())}
        return Decision("pruned", {"kept": kept, "rows": rare}, recipe)
    return Decision("pruned", {"kept": kept}, recipe)


def _counted(model: Model, options: Pruned, calibration: Any) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """How often each row of a recommender's tables occurs in the inputs, and which rows leave."""
    spec = model.spec
    if options.min_count is not None and not spec.input.embedded:
        raise ValueError(f"min_count= is for recommenders; {spec.name} has no tables of known values.")
    if options.min_count is not None and calibration is None:
        raise Uncalibrated(f"min_count= needs calibration=: {ADVICE}, in which values are counted.")
    if calibration is None or not spec.input.embedded:
        return {}, {}
    counts = occurrences(spec, as_calibration(calibration, ADVICE, model))
    return counts, {} if options.min_count is None else rare_rows(counts, options.min_count)


def _parts(group: Group) -> list[tuple[str, int]]:
    return [(part.name, part.size) for part in parted(group)]


def _whole(group: Group, widths: Mapping[str, int]) -> bool:
    """Whether nothing leaves the parts of a group."""
    return all(widths.get(name, size) == size for name, size in _parts(group))


def _saved(spec: ModelSpec, name: str, size: int, target: str) -> float:
    """What an entry of that part costs: parameters where these are the target, else all entries the same."""
    if target != "parameters" or size < 2:
        return 1.0
    return float(kinds.cost(spec).parameters - kinds.cost(narrowed(spec, {name: size - 1})).parameters)


def _calibrated(
    model: Model, options: Pruned, groups: list[Group], floors: dict[str, int], calibration: Any
) -> Decision:
    """The channels and blocks whose loss changes the answers to `calibration` least; the rest solved again on it."""
    if calibration is None:
        raise Uncalibrated(f'importance="calibrated" needs calibration=: {ADVICE}.')
    _check_dense(model)
    parts = divided(distinct(as_calibration(calibration, ADVICE, model), model.spec, ADVICE))
    target, share = options.target
    plain = from_state(model.spec, model.state_dict())
    with torch.inference_mode():
        kept, gone = chosen(plain, options, groups, floors, parts)
    choices = {"kept": kept, **({"dropped": gone} if gone else {})}
    bare = Decision("pruned", choices)
    narrow = respec(model.spec, bare), carry(model.state_dict(), model.spec, bare)
    small, trial = from_state(*narrow), from_state(*narrow)
    seen, others = sides(parts)
    with torch.inference_mode():
        solve(plain, small, kept, parts)
        solve(plain, trial, kept, seen)
    recipe = {"importance": "calibrated", target: share, "round_to": options.round_to or "8, 4 below 64"}
    recipe |= {"examples": sum(map(count, parts)), **measured(likeness(trial, plain, others))}
    recipe |= {"drop_blocks": gone} if gone else {}
    return Decision("pruned", choices, recipe, small.state_dict())


def _check_dense(model: Model) -> None:
    """Raise ValueError for a sparse network: its zeros would be solved away."""
    if any(one.get("pass") == "sparse" for one in noted(model.made, "passes")):
        raise ValueError(
            f"{model.spec.name} is sparse, and pruning by calibration solves the weights again, zeros too: make it of "
            'the dense network, "pruned-sparse", or give importance="l2".'
        )


def _check_float(model: Model) -> None:
    narrow = sorted({row.precision for row in model.spec} - {"float32"})
    if narrow:
        raise ValueError(f"{model.spec.name} is {narrow[0]} already; prune the float network, then make it int8.")


def respec(spec: ModelSpec, decision: Decision) -> ModelSpec:
    gone = decision.choices.get("dropped", ())
    spec = _without(spec, gone) if gone else spec
    spec = narrowed(spec, {name: len(kept) for name, kept in decision.choices["kept"].items()})
    return without_rows(spec, decision.choices.get("rows", {}))


def _without(spec: ModelSpec, gone: Sequence[str]) -> ModelSpec:
    """The spec without those rows. What taps one of them taps its input instead."""
    rows: list[Block] = []
    stands_for: dict[str, str] = {}
    for row in spec:
        if row.name in gone:
            stands_for[row.name] = rows[-1].name
        else:
            rows.append(row.replace(taps=tuple(stands_for.get(tap, tap) for tap in row.taps)))
    return spec.replace(rows=tuple(rows))


def carry(state: Mapping[str, Tensor], spec: ModelSpec, decision: Decision) -> dict[str, Tensor]:
    """The dense state with only the kept entries of every axis that a narrowed group indexes."""
    kept = decision.choices["kept"]
    groups = channel_groups(spec)
    of_node = kept_channels(groups, kept)
    of_features: dict[str, dict[int, list[int]]] = {}
    for group in groups:
        own = {place: kept[of_part(group, place)] for place in range(len(group.parts)) if of_part(group, place) in kept}
        starts = [0, *accumulate(group.parts)]
        every = [own.get(place, list(range(size))) for place, size in enumerate(group.parts)]
        for node in group.members if own else ():
            of_node[node] = [start + lane for start, part in zip(starts, every, strict=False) for lane in part]
            of_features[node[0]] = own
    out: dict[str, Tensor] = {}
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
    rows = decision.choices.get("rows", {})
    if rows or of_features:
        out |= carried(state, spec, respec(spec, decision), rows, of_features)
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
    allowed: float,
) -> dict[str, int]:
    """As few of the least important channels, ranked over all groups, as must go to fit what the budget allows."""
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
