"""`int8`: static quantization. Batch norm is folded, weights are int8 for each output channel, and the uint8 edges
between layers are ranged over calibration data, or as quantization-aware training has learned them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from zoo import kinds, tasks
from zoo.engine.cpu.onednn import REDUCED
from zoo.kinds.streams import with_edges
from zoo.model.build import Model, copy_metadata, from_state, learned_edges
from zoo.passes import Int8, quantize
from zoo.passes.bias import input_means
from zoo.passes.data import Batch, Uncalibrated, as_calibration, count
from zoo.passes.decision import Decision
from zoo.passes.gptq import learned_codes
from zoo.passes.quantize import ADVICE, Rounding
from zoo.passes.ranges import observe, recorded
from zoo.passes.sensitivity import row_errors, within_drop
from zoo.passes.smooth import Smoothing, exponents, smoothed
from zoo.passes.sums import rescaled
from zoo.spec import ModelSpec


def plan(model: Model, options: Int8 | None = None, *, calibration: Any = None, labelled: Any = None) -> Decision:
    """Range every edge over the inputs `calibration`; `labelled` is (inputs, labels), for max_drop.

    A network in quantization-aware training takes nothing: its edges are those it has learned.
    """
    options = options or Int8()
    observer, keep_float, max_drop = options.observer, options.keep_float, options.max_drop
    if any(row.precision == "qat" for row in model.spec):
        return _trained(model, options, {"calibration": calibration, "labelled": labelled})
    _check(model, options, labelled)
    kept = [] if isinstance(keep_float, int) else list(keep_float)
    if options.dynamic or (options.dynamic is None and calibration is None and model.spec.input.ids):
        return _dynamic(model, options, calibration, kept)
    if calibration is None:
        raise Uncalibrated(f"{ADVICE}.")
    batches = as_calibration(calibration, ADVICE, model)
    rows = with_edges(model.spec, [row for row in model.spec if row.name not in kept])
    smoothing = exponents(model, batches, kept) if options.smooth else {}
    model = _smoothed(model, smoothing)
    observed, names = observe(model, rows, batches, observer), [row.name for row in rows]
    means = input_means(model, rows, batches) if options.correct_bias else {}
    rounding = _rounding(model, options, names, means, batches)
    told: dict[str, Any] = {}
    if max_drop is not None:
        ranked = list(row_errors(model, names, observed, rounding, batches))
        more, drop = within_drop(model, names, observed, rounding, ranked, labelled, max_drop)
        told = {"chosen_by": {"max_drop": max_drop, "drop": round(drop, 4)}}
        kept += more
    elif isinstance(keep_float, int) and keep_float:
        kept += list(row_errors(model, names, observed, rounding, batches))[:keep_float]
        told = {"chosen_by": {"sensitivity": keep_float}}
    told |= _told(options, smoothing)
    if options.tables != Int8.tables:
        told["tables"] = options.tables
    names = [name for name in names if name not in kept]
    edges = quantize.shared(model.spec, observed.edges(names))
    recipe: dict[str, Any] = {
        "observer": observer,
        "examples": sum(map(count, batches)),
        "keep_float": [row.name for row in model.spec if row.name in kept],
        "correct_bias": options.correct_bias,
    }
    recipe |= recorded(observed.sums(names))
    choices = {"edges": edges, "means": means, "smoothing": smoothing}
    return Decision("int8", choices, {**recipe, **told}, rounding.codes)


def respec(spec: ModelSpec, decision: Decision) -> ModelSpec:
    if any(row.precision == "qat" for row in spec):  # who reads codes was settled before the training
        return spec.replace(rows=tuple(r.replace(precision="int8") if r.precision == "qat" else r for r in spec))
    return quantize.respec(spec, decision.choices["edges"], _precision(decision), tables=_of_tables(decision))


def carry(state: Mapping[str, Tensor], spec: ModelSpec, decision: Decision) -> dict[str, Tensor]:
    """Weights folded and rounded; zeros stay zeros."""
    choices = decision.choices
    state = smoothed(state, spec, choices.get("smoothing", {}))
    rounding = Rounding(choices["means"], _widest(bool(decision.recipe.get("reduce_range"))), decision.state)
    return quantize.carry(state, spec, choices["edges"], _precision(decision), rounding, tables=_of_tables(decision))


def _of_tables(decision: Decision) -> str:
    return str(decision.recipe.get("tables", Int8.tables))


def _precision(decision: Decision) -> str:
    return "int8_dynamic" if decision.recipe.get("dynamic") else "int8"


def _widest(reduce_range: bool) -> int:
    return REDUCED if reduce_range else 127


def _rounding(
    model: Model, options: Int8, names: Collection[str], means: quantize.Means, batches: Sequence[Batch]
) -> Rounding:
    """How the weights of the rows called `names` are rounded."""
    rounding = Rounding(means, _widest(options.reduce_range))
    if options.rounding == "nearest":
        return rounding
    return replace(rounding, codes=learned_codes(model, names, batches, rounding.widest, corrected=bool(means)))


def _dynamic(model: Model, options: Int8, calibration: Any, kept: list[str]) -> Decision:
    if options.observer != Int8.observer or not options.correct_bias:
        raise ValueError("observer= and correct_bias= are for calibrated int8; dynamic int8 ranges every token.")
    if options.rounding == "nearest" and calibration is not None:
        raise ValueError("Dynamic int8 ranges every token as it comes: it takes no calibration=.")
    if options.rounding != "nearest" and calibration is None:
        raise Uncalibrated(f'rounding="{options.rounding}" needs calibration=: inputs on which it chooses the weights.')
    edges: quantize.Edges = {
        row.name: []
        for row in model.spec
        if row.name not in kept and "int8_dynamic" in kinds.KINDS[row.kind].precisions
    }
    if not edges:
        raise ValueError(f"{model.spec.name} has no rows that range their inputs as they come; {ADVICE}.")
    recipe: dict[str, Any] = {"dynamic": True, "keep_float": [row.name for row in model.spec if row.name in kept]}
    smoothing = exponents(model, None, kept) if options.smooth else {}
    codes: Mapping[str, Tensor] = {}
    if calibration is not None:
        batches = as_calibration(calibration, ADVICE, model)
        recipe["examples"] = sum(map(count, batches))
        codes = _rounding(_smoothed(model, smoothing), options, edges, {}, batches).codes
    choices = {"edges": edges, "means": {}, "smoothing": smoothing}
    return Decision("int8", choices, {**recipe, **_told(options, smoothing)}, codes)


def _smoothed(model: Model, smoothing: Smoothing) -> Model:
    if not smoothing:
        return model
    return copy_metadata(from_state(model.spec, smoothed(model.state_dict(), model.spec, smoothing)), model)


def _told(options: Int8, smoothing: Smoothing) -> dict[str, Any]:
    """For the recipe: how weights are rounded where that is not as usual, and how many channels were moved."""
    told: dict[str, Any] = {"reduce_range": True} if options.reduce_range else {}
    if options.rounding != "nearest":
        told["rounding"] = options.rounding
    channels = sum(exponent != 0 for of_norm in smoothing.values() for exponent in of_norm)
    return {**told, "smoothed_channels": channels} if channels else told


def _trained(model: Model, options: Int8, inputs: Mapping[str, Any]) -> Decision:
    given = [*(name for name, value in inputs.items() if value is not None), *options.given]
    if given:
        raise ValueError(
            f"{', '.join(given)}: {model.spec.name} was trained quantization-aware, so its ranges and its rows are "
            'settled; compress(model, "int8") alone makes it int8.'
        )
    edges = {name: edges.tolist() for name, edges in learned_edges(model).items()}
    kept = [row.name for row in model.spec if row.precision == "float32"]
    recipe = {"trained": "quantization-aware", "keep_float": kept, **recorded(rescaled(model, edges))}
    return Decision("int8", {"edges": edges, "means": {}}, recipe)


def _check(model: Model, options: Int8, labelled: Any) -> None:
    spec, keep_float, max_drop = model.spec, options.keep_float, options.max_drop
    if spec.input.ids and (max_drop is not None or (isinstance(keep_float, int) and keep_float)):
        raise ValueError("Of a language model, say by name which rows stay: keep_float=('h0', ...).")
    if isinstance(keep_float, int):
        if keep_float > len(spec.rows):
            raise ValueError(f"keep_float is row names, or how many of the {len(spec.rows)} rows, not {keep_float!r}.")
        if max_drop is not None and keep_float:
            raise ValueError("keep_float as a number and max_drop both say how many rows stay float32: give one.")
    elif unknown := set(keep_float) - {row.name for row in spec}:
        raise ValueError(f"keep_float names no rows of {spec.name}: {sorted(unknown)}.")
    if options.tables != Int8.tables and not any(options.tables in kinds.KINDS[row.kind].precisions for row in spec):
        raise ValueError(f'tables="{options.tables}" is for recommenders; {spec.name} has no tables of features.')
    if narrow := sorted({row.precision for row in spec} - {"float32"}):
        raise ValueError(f"{spec.name} is {narrow[0]} already: give the float network.")
    if (max_drop is None) != (labelled is None):
        raise ValueError(
            "max_drop, in points of the task's main figure, and labelled=(inputs, labels) belong together; the command "
            "`zoo quantize` has both."
        )
    if max_drop is not None and not ((task := tasks.of(spec)).judge and task.metrics and kinds.head(spec)):
        raise ValueError(
            f"max_drop= is measured by the main figure of the network's task. {spec.name} ({task.name}) ends in "
            f"{spec.rows[-1].name!r} and has no such figure: say by keep_float= which rows stay."
        )
