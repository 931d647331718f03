"""Quantization-aware training: a network whose rows round as int8 does while anybody's loop trains them.

`zoo.prepare_qat(model, calibration)`, training, `zoo.compress(model, "int8")`. Jacob et al., 2018, with scales learned
as in LSQ (Esser et al., 2020).
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from zoo import kinds
from zoo.checks import noted
from zoo.kinds.streams import edges_of, with_edges
from zoo.model.build import Model, copy_metadata, from_state
from zoo.model.defaults import usual_defaults
from zoo.model.verify import rebuildable
from zoo.passes import Int8, Observer
from zoo.passes.bias import input_means
from zoo.passes.data import as_calibration
from zoo.passes.quantize import ADVICE, Edges, Rounding, carry, respec, shared
from zoo.passes.ranges import observe, ranged, recorded
from zoo.passes.smooth import exponents, smoothed
from zoo.spec import Block, ModelSpec


@usual_defaults()
def prepare_qat(
    model: Model, calibration: Any = None, *, observer: Observer | None = None, keep_float: tuple[str, ...] = ()
) -> Model:
    """Prepare quantization-aware training (Jacob et al., 2018; learned scales: LSQ, Esser et al., 2020).

    The network rounds as its int8 form does, and any training loop can train it. Batch norm is folded into the
    weights. The sums of a residual stream learn one scale, as other runtimes want them.
    `zoo.compress(model, "int8")` makes int8 of the result, trained or not. For convolutional networks.

    Args:
        model (Model): a float network, or an int8 one, whose ranges are kept; it stays as it is.
        calibration (Any): preprocessed inputs, as `zoo.compress` takes them. A float network needs them; an int8 one
            only for fresh rows whose neighbours do not tell their ranges, and it is refused if there are none.
            Default: None.
        observer ("mse" | "minmax" | "percentile" | None): how ranges are chosen from `calibration`; refused if none
            is chosen. Default: None, which is "mse".
        keep_float (tuple[str, ...]): names of rows that stay float32. Default: none; an int8 network's float rows
            stay so.

    Returns:
        A new `Model`, in eval mode.

    Raises:
        ValueError: the model is in such training already or is fused, a row has no such training, a name in
            `keep_float` is no row, or a range is not known.

    Example:
        >>> model = zoo.create("resnet20")
        >>> pictures = zoo.preprocess(model)(zoo.samples("cifar10", "train").images[:8])
        >>> qat = zoo.prepare_qat(model, pictures).train()
        >>> loss = torch.nn.functional.cross_entropy(qat(pictures), torch.zeros(8, dtype=torch.long))
        >>> loss.backward()  # a step of your own training
        >>> zoo.compress(qat.eval(), "int8").spec["s1_1"].precision
        'int8'
    """
    chosen = Int8(observer=observer or Int8.observer).observer
    model = rebuildable(model, "prepare_qat", float32=True)
    spec = model.spec
    found = {row.precision for row in spec}
    if "qat" in found:
        raise ValueError(f'{spec.name} is in quantization-aware training already; compress(model, "int8") ends it.')
    if "fused" in found:
        raise ValueError(f"{spec.name} is fused for inference: train the network it was made of.")
    check_rows(spec)
    unknown = set(keep_float) - {row.name for row in spec}
    if unknown:
        raise ValueError(f"keep_float names no rows of {spec.name}: {sorted(unknown)}.")
    integer = [name for name in keep_float if spec[name].precision == "int8"]
    if integer:
        raise ValueError(f"{integer} cannot stay float32: they are int8, their batch norm folded; use the float model.")
    batches = None if calibration is None else as_calibration(calibration, ADVICE, model)
    passes = list(noted(model.made, "passes"))
    if "int8" in found:
        told = _told(model)
        kept = {*keep_float, *told.get("keep_float", ())}
        edges, rounding = _known_edges(model, kept, batches, observer), Rounding()
        passes = [one for one in passes if one is not told]
    else:
        if batches is None:
            raise ValueError(f"Of a float model, {ADVICE}.")
        kept = set(keep_float)
        rows = with_edges(spec, [row for row in spec if row.name not in kept], "qat")
        if smoothing := exponents(model, batches, kept):
            model = copy_metadata(from_state(spec, smoothed(model.state_dict(), spec, smoothing)), model)
        observed, names = observe(model, rows, batches, chosen), [row.name for row in rows]
        edges, rounding = observed.edges(names), Rounding(input_means(model, rows, batches))
        told = {"observer": chosen, "examples": sum(map(len, batches)), **recorded(observed.sums(names))}
    edges = shared(spec, edges)
    state = carry(model.state_dict(), spec, edges, "qat", rounding)
    qat = copy_metadata(from_state(respec(spec, edges, "qat"), state), model)
    floats = [row.name for row in spec if row.name not in edges]
    qat.made = {**model.made, "passes": [*passes, {**told, "pass": "qat", "keep_float": floats}]}
    return qat


def check_rows(spec: ModelSpec) -> None:
    """Raise ValueError for a row that has no quantization-aware training."""
    if without := [row.name for row in spec if kinds.state(row) and "qat" not in kinds.KINDS[row.kind].precisions]:
        raise ValueError(
            f"There is no quantization-aware training for {spec[without[0]].kind} (row {without[0]!r}): it is for "
            "convolutional networks. Train the float network, then compress it."
        )


def unranged(model: Model) -> list[str]:
    """The float rows of an int8 network that `prepare_qat` ranges by calibration; none: calibration is refused."""
    check_rows(model.spec)
    _, rows = _by_neighbours(model, set(_told(model).get("keep_float", ())), calibrated=True)
    return [row.name for row in rows]


def _told(model: Model) -> dict[str, Any]:
    """What `made` tells of the last int8 pass."""
    passes = reversed(model.made.get("passes", []))
    return next((one for one in passes if one.get("pass") == "int8"), {})


def _known_edges(model: Model, kept: set[str], batches: list[Tensor] | None, observer: str | None) -> Edges:
    """The edges of an int8 model's rows, and of its float rows that are not `kept`."""
    edges, unknown = _by_neighbours(model, kept, calibrated=batches is not None)
    if unknown and batches is None:
        raise ValueError(
            f"Nobody knows the ranges of {[row.name for row in unknown]}, which are float32 in this int8 model: pass "
            "calibration=, or keep them float by keep_float=."
        )
    if unknown and batches:
        return {**edges, **ranged(model, unknown, batches, observer or Int8.observer)}
    given = ["calibration="] * (batches is not None) + [f"observer={observer!r}"] * (observer is not None)
    if given:
        raise ValueError(
            f"{' and '.join(given)} would choose no range: {model.spec.name} is int8, with ranges for every row. Leave "
            "it out, or start from the float network."
        )
    return edges


def _by_neighbours(model: Model, kept: set[str], *, calibrated: bool) -> tuple[Edges, list[Block]]:
    """(the edges that an int8 model's rows have or tell their neighbours, the other rows that are not `kept`)."""
    spec = model.spec
    edges: Edges = {
        row.name: model.get_submodule(row.name).edges.tolist()  # type: ignore[operator, union-attr]
        for row in spec
        if row.precision == "int8"
    }
    unknown: list[Block] = []
    wanted = {row.name for row in with_edges(spec, [row for row in spec if row.name not in kept], "qat")}
    for place, row in enumerate(spec.rows):
        if row.name in edges or row.name not in wanted:
            continue
        last = place + 1 == len(spec.rows)
        before = edges.get(spec.rows[place - 1].name) if place else None
        behind = None if calibrated or last else edges.get(spec.rows[place + 1].name)
        if known := _between(row, before, behind, last=last):
            edges[row.name] = known
        else:
            unknown.append(row)
    return edges, unknown


def _between(
    row: Block, before: list[list[float]] | None, behind: list[list[float]] | None, *, last: bool
) -> list[list[float]] | None:
    """The row's edges by those of the rows around it, None where they do not tell."""
    if kinds.role(row) == "head" and last and before:
        return [before[-1], before[-1]]  # scores leave as floats: the second is not used
    if edges_of(row) == ("in",) and before:
        return [before[-1]]
    if edges_of(row) == ("in", "out") and before and behind:
        return [before[-1], behind[0]]
    return None
