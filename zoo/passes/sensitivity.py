"""Which rows int8 hurts: one row at a time quantized, and what that does to the network's answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn as nn
from torch import Tensor

from zoo import tasks
from zoo.kinds.streams import with_edges
from zoo.model.build import Model, from_state
from zoo.model.defaults import usual_defaults
from zoo.model.verify import rebuildable
from zoo.passes import Int8, Observer
from zoo.passes.bias import input_means
from zoo.passes.data import as_calibration, as_labelled_batches
from zoo.passes.quantize import ADVICE, Rounding, carry, respec, shared
from zoo.passes.ranges import Observed, observe
from zoo.spec import Block

MOST = 256  # inputs that errors are taken on


@usual_defaults()
def sensitivity(model: Model, calibration: Any, *, observer: Observer = Int8.observer) -> dict[str, float]:
    """Row -> the mean squared error of the logits when that row alone is int8, over the logits' mean square.

    The most sensitive row stands first. Edges are ranged over all of `calibration` (as `zoo.compress` takes it), errors
    are taken on its first 256 inputs. Raises ValueError for a network that is not float32, or without inputs.
    """
    Int8(observer=observer)
    model = rebuildable(model, "sensitivity", float32=True)
    if any(row.precision != "float32" for row in model.spec):
        raise ValueError(f"{model.spec.name} is not float32: the sensitivity of rows is asked of the float network.")
    if model.spec.input.ids:
        raise ValueError("The sensitivity of rows is measured on pictures, not on language models.")
    batches = as_calibration(calibration, ADVICE, model)
    rows = with_edges(model.spec, model.spec.rows)
    names = [row.name for row in rows]
    rounding = Rounding(input_means(model, rows, batches))
    return row_errors(model, names, observe(model, rows, batches, observer), rounding, batches)


def row_errors(
    model: Model, names: Sequence[str], observed: Observed, rounding: Rounding, batches: Sequence[Tensor]
) -> dict[str, float]:
    """`sensitivity` of the rows called `names`.

    The rows run one by one: what comes before the quantized row is float, and the same for every row.
    """
    plain = from_state(model.spec, model.state_dict())
    alone = _apart(model, names, observed, rounding)
    rows = [(row, plain.get_submodule(row.name)) for row in model.spec]
    errors, power, seen = dict.fromkeys(names, 0.0), 0.0, 0
    with torch.inference_mode():
        for batch in batches:
            x = batch[: MOST - seen]
            seen += len(x)
            expected = plain(x)
            power += float(expected.double().square().sum())
            kept = {"input": x}
            for place, (row, module) in enumerate(rows):
                if row.name in errors:
                    y = _rest(
                        rows[place + 1 :], kept, row, alone.get_submodule(row.name)(x, *(kept[tap] for tap in row.taps))
                    )
                    errors[row.name] += float((y.double() - expected.double()).square().sum())
                x = kept[row.name] = module(x, *(kept[tap] for tap in row.taps))
            if seen >= MOST:
                break
    ranked = sorted(errors, key=lambda name: -errors[name])
    return {name: errors[name] / max(power, 1e-30) for name in ranked}


def quantized(model: Model, names: Sequence[str], observed: Observed, rounding: Rounding) -> Model:
    """The model with the rows called `names` in int8."""
    if not names:
        return model
    edges = shared(model.spec, observed.edges(names))
    return from_state(respec(model.spec, edges, "int8"), carry(model.state_dict(), model.spec, edges, "int8", rounding))


def _apart(model: Model, names: Sequence[str], observed: Observed, rounding: Rounding) -> Model:
    """The model with the rows called `names` in int8, each as it is where no other row is."""
    edges = {name: observed.edges([name])[name] for name in names}
    state = carry(model.state_dict(), model.spec, edges, "int8", rounding, apart=True)
    return from_state(respec(model.spec, edges, "int8", apart=True), state)


def within_drop(
    model: Model,
    names: Sequence[str],
    observed: Observed,
    rounding: Rounding,
    ranked: Sequence[str],
    labelled: Any,
    max_drop: float,
) -> tuple[list[str], float]:
    """The fewest of the `ranked` rows, first ones first, that must stay float32 so that the other rows called `names`
    can be int8; and by how much the task's main figure is then worse."""
    given = as_labelled_batches(labelled, "max_drop is measured on labelled=", model)
    plain = from_state(model.spec, model.state_dict())
    targets = tasks.of(model.spec).fetch("targets")(model)
    batches = [(inputs, targets.in_memory(torch.as_tensor(told).cpu(), len(told))) for inputs, told in given]
    best, metric = _figure(plain, batches), tasks.of(model.spec).metrics[0]
    for count in range(len(ranked) + 1):
        kept = list(ranked[:count])
        rounded = quantized(plain, [name for name in names if name not in kept], observed, rounding)
        drop = metric.drop(best, _figure(rounded, batches))
        if drop <= max_drop + 1e-9:
            break
    return kept, drop


def _rest(rows: Sequence[tuple[Block, nn.Module]], kept: Mapping[str, Tensor], changed: Block, x: Tensor) -> Tensor:
    """Through all `rows`, behind the one that was changed and gave `x`."""
    outputs = {**kept, changed.name: x}
    for row, module in rows:
        x = outputs[row.name] = module(x, *(outputs[tap] for tap in row.taps))
    return x


def _figure(model: Model, batches: Sequence[tuple[Any, Sequence[Any]]]) -> float:
    """The main figure of the network's task."""
    with torch.inference_mode():
        return tasks.main_figure(model.spec, ((model(inputs), targets) for inputs, targets in batches), "labelled=")
