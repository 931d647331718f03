"""What leaves embedding tables: rows of values that hardly occur, and entries of a feature's vectors.

A value whose row leaves is unknown from then on. Row 1, of unknown values, becomes the mean of the rows that leave, as
often as each occurs. The entries that features keep may differ in number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from zoo import kinds
from zoo.passes.groups import Group, of_part
from zoo.spec import Block, ModelSpec

UNKNOWN, KNOWN = 1, 2  # rows of every table of known values: the one of all others, and the first known one
Rows = Mapping[str, Mapping[str, list[int]]]  # feature -> "kept": rows that stay; "gone", "counts": those that leave


def occurrences(spec: ModelSpec, batches: Sequence[Tensor]) -> dict[str, Tensor]:
    """Feature with known values -> how often each of its rows occurs (rows,)."""
    found = {}
    for one in spec.table.features:
        if one.keys:
            columns = spec.table.columns(one.name)
            numbers = torch.cat([batch[:, columns].long().flatten() for batch in batches])
            found[one.name] = torch.bincount(numbers, minlength=one.rows).cpu()
    return found


def rare_rows(counts: Mapping[str, Tensor], least: int) -> dict[str, dict[str, list[int]]]:
    """Of each feature with rarer values than `least`: the rows that stay and those that leave. The commonest stays."""
    found = {}
    for name, of_rows in counts.items():
        stays = of_rows >= least
        stays[:KNOWN] = True
        stays[KNOWN + int(of_rows[KNOWN:].max(0).indices)] = True
        if not bool(stays.all()):
            gone = (~stays).nonzero().flatten().tolist()
            kept = stays.nonzero().flatten().tolist()
            found[name] = {"kept": kept, "gone": gone, "counts": [int(of_rows[UNKNOWN]), *of_rows[gone].tolist()]}
    return found


def lanes(
    spec: ModelSpec, state: Mapping[str, Tensor], group: Group, counts: Mapping[str, Tensor], costs: Mapping[str, float]
) -> tuple[dict[str, Tensor], dict[str, list[int]]]:
    """Part of the group -> a score for each entry (float64), and -> its entries, the best first.

    The score is the root mean square of the entry over all values, as often as each occurs, over the root of what it
    costs. Where entries at one place belong together, all features put the places in one order.
    """
    row = next(spec[name] for name, space in group.members if space == "out" and _tables(spec[name]))
    squares = []
    for place, block in enumerate(_blocks(state, row)[0]):
        weights = counts.get(spec.table.features[place].name, torch.ones(len(block))).double()
        shares = weights / weights.sum().clamp_min(1)
        squares.append((block.double().square() * shares.to(block.device)[:, None]).sum(0).cpu())
    aligned = any(kinds.KINDS[spec[name].kind].aligned for name, _ in group.members)
    joint = torch.zeros(max(group.parts), dtype=torch.float64)
    for one in squares:
        joint[: len(one)] += one
    scores, orders = {}, {}
    for place, one in enumerate(squares):
        name = of_part(group, place)
        order = joint[: len(one)] if aligned else one
        orders[name] = order.argsort(descending=True, stable=True).tolist()
        scores[name] = (one / max(costs[name], 1e-30)).sqrt()
    mean = torch.cat(list(scores.values())).mean().clamp_min(1e-30)
    return {name: score / mean for name, score in scores.items()}, orders


def without_rows(spec: ModelSpec, rows: Rows) -> ModelSpec:
    """The spec whose tables have the rows that stay."""
    if not rows:
        return spec
    features = tuple(
        replace(one, num_embeddings=len(rows[one.name]["kept"])) if one.name in rows else one
        for one in spec.table.features
    )
    given = replace(spec.table, features=features)
    laid = given.embedded
    changed = tuple(
        row.replace(**{key: laid[key] for key in ("rows", "keys") if key in row.args})
        if kinds.KINDS[row.kind].takes_rows
        else row
        for row in spec
    )
    return spec.replace(rows=changed, input=given)


def carried(
    state: Mapping[str, Tensor],
    spec: ModelSpec,
    new: ModelSpec,
    rows: Rows,
    kept: Mapping[str, Mapping[int, list[int]]],
) -> dict[str, Tensor]:
    """The tables and the vocabulary of `new`. `kept` has, for rows of the network, the entries of some features."""
    out = {}
    for row in spec:
        if not _tables(row):
            continue
        blocks, rest = _blocks(state, row)
        for place, one in enumerate(spec.table.features):
            if one.name in rows:
                blocks[place] = _without(blocks[place], rows[one.name])
            if place in kept.get(row.name, {}):
                blocks[place] = blocks[place][:, kept[row.name][place]]
        for table in _tables(new[row.name]):
            parts = [blocks[place] for place in table.features]
            out[f"{row.name}.{table.path}weight"] = torch.cat([*parts, *rest[: len(table.parts)]]).clone()
        if kinds.KINDS[row.kind].keys is not None:
            vocabulary = state[f"{row.name}.vocabulary"]
            of_features = [vocabulary[spec.table.vocabulary(one.name)] for one in spec.table.features]
            for place, one in enumerate(spec.table.features):
                if one.name in rows:
                    known = [number - KNOWN for number in rows[one.name]["kept"][KNOWN:]]
                    of_features[place] = of_features[place][known]
            out[f"{row.name}.vocabulary"] = torch.cat(of_features).clone()
    return out


def _tables(row: Block) -> tuple[kinds.Table, ...]:
    return kinds.KINDS[row.kind].tables(kinds.arguments(row))


def _blocks(state: Mapping[str, Tensor], row: Block) -> tuple[list[Any], list[Tensor]]:
    """(the rows of each feature, the rows behind them, of crosses)."""
    args = kinds.arguments(row)
    blocks: list[Any] = [None] * len(args["rows"])
    rest = []
    for table in _tables(row):
        weight, start = state[f"{row.name}.{table.path}weight"], 0
        for place in table.features:
            blocks[place] = weight[start : start + args["rows"][place]]
            start += args["rows"][place]
        rest.append(weight[start:])
    return blocks, rest


def _without(block: Tensor, rows: Mapping[str, list[int]]) -> Tensor:
    """The rows that stay, the unknown one as the mean of those that leave."""
    counts = torch.tensor(rows["counts"], dtype=torch.float64, device=block.device)
    stays = block[rows["kept"]].clone()
    if bool(counts.any()):
        leaving = block[[UNKNOWN, *rows["gone"]]].double()
        stays[UNKNOWN] = ((leaving * counts[:, None]).sum(0) / counts.sum()).to(block.dtype)
    return stays
