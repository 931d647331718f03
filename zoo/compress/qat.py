"""Quantization-aware training: a network whose rows round as int8 does while anybody's loop trains them.

`zoo.prepare_qat(model, calibration)`, training, `zoo.compress(model, "int8")`. Jacob et al., 2018, with scales learned
as in LSQ (Esser et al., 2020).
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from zoo import kinds
from zoo.build import Model, describe, from_state, is_whole
from zoo.compress.bias import input_means
from zoo.compress.data import as_batches
from zoo.compress.quantize import ADVICE, Edges, carry, edges_of, ranged, respec, shared
from zoo.compress.sparsify import unmasked
from zoo.spec import Block


def prepare_qat(
    model: Model, calibration: Any = None, *, observer: str = "mse", keep_float: tuple[str, ...] = ()
) -> Model:
    """A new model to train, in eval mode, that answers as the int8 model would; the one given stays as it is.

    Batch norm is folded into weights and biases, and gone. A float model needs `calibration`, preprocessed inputs as
    `zoo.compress` takes them; rows in `keep_float` stay float32. An int8 model brings its ranges along, and the rows
    that it keeps as float; other float rows of it, a new classifier for instance, are ranged by their neighbours, or by
    `calibration` where those do not tell. `zoo.compress(model, "int8")` makes int8 of it, trained or not.

    Raises ValueError for a model in such training already, rows that there are not, and ranges that nobody knows.
    """
    if not is_whole(model):
        raise ValueError(f"prepare_qat takes a zoo model, not {type(model).__name__}.")
    spec = model.spec
    found = {row.precision for row in spec}
    if "qat" in found:
        raise ValueError(f'{spec.name} is in quantization-aware training already; compress(model, "int8") ends it.')
    if "fused" in found:
        raise ValueError(f"{spec.name} is fused for inference: train the network it was made of.")
    if without := [row.name for row in spec if kinds.state(row) and "qat" not in kinds.KINDS[row.kind].precisions]:
        raise ValueError(
            f"There is no quantization-aware training for {spec[without[0]].kind} (row {without[0]!r}): it is for "
            "convolutional networks."
        )
    unknown = set(keep_float) - {row.name for row in spec}
    if unknown:
        raise ValueError(f"keep_float names no rows of {spec.name}: {sorted(unknown)}.")
    integer = [name for name in keep_float if spec[name].precision == "int8"]
    if integer:
        raise ValueError(f"{integer} cannot stay float32: they are int8, their batch norm folded; use the float model.")
    batches = None if calibration is None else as_batches(calibration, ADVICE)
    model = unmasked(model)
    passes = list(model.made.get("passes", []))
    if "int8" in found:
        told: dict[str, Any] = next((one for one in reversed(passes) if one.get("pass") == "int8"), {})
        kept = {*keep_float, *told.get("keep_float", ())}
        edges, means = _known_edges(model, kept, batches, observer), {}
        passes = [one for one in passes if one is not told]
    else:
        if batches is None:
            raise ValueError(f"Of a float model, {ADVICE}.")
        kept = set(keep_float)
        rows = [row for row in spec if row.name not in kept]
        edges, means = ranged(model, rows, batches, observer), input_means(model, rows, batches)
        told = {"observer": observer, "examples": sum(map(len, batches))}
    edges = shared(spec, edges)
    state = carry(model.state_dict(), spec, edges, "qat", means)
    qat = describe(from_state(respec(spec, edges, "qat"), state), model)
    floats = [row.name for row in spec if row.name not in edges]
    qat.made = {**model.made, "passes": [*passes, {**told, "pass": "qat", "keep_float": floats}]}
    return qat


def _known_edges(model: Model, kept: set[str], batches: list[Tensor] | None, observer: str) -> Edges:
    """The edges of an int8 model's rows, and of its float rows that are not `kept`."""
    spec = model.spec
    edges: Edges = {
        row.name: model.get_submodule(row.name).edges.tolist()  # type: ignore[operator, union-attr]
        for row in spec
        if row.precision == "int8"
    }
    unknown: list[Block] = []
    for place, row in enumerate(spec.rows):
        if row.name in edges or row.name in kept:
            continue
        before = edges.get(spec.rows[place - 1].name) if place else None
        behind = edges.get(spec.rows[place + 1].name) if place + 1 < len(spec.rows) else None
        last = place + 1 == len(spec.rows)
        known = _between(row, before, behind if batches is None else None, last=last)
        if known:
            edges[row.name] = known
        else:
            unknown.append(row)
    if unknown and batches is None:
        raise ValueError(
            f"Nobody knows the ranges of {[row.name for row in unknown]}, which are float32 in this int8 model: pass "
            "calibration=, or keep them float by keep_float=."
        )
    return {**edges, **ranged(model, unknown, batches, observer)} if unknown and batches else edges


def _between(
    row: Block, before: list[list[float]] | None, behind: list[list[float]] | None, *, last: bool
) -> list[list[float]] | None:
    """The row's edges by those of the rows around it, None where they do not tell."""
    if row.kind == "classifier" and last and before:
        return [before[-1], before[-1]]  # scores leave as floats: the second is not used
    if edges_of(row) == ("in",) and before:
        return [before[-1]]
    if edges_of(row) == ("in", "out") and before and behind:
        return [before[-1], behind[0]]
    return None
