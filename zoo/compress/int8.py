"""`int8`: static quantization. Batch norm is folded, weights are int8 for each output channel, and the uint8 edges
between layers are ranged over calibration data, or as quantization-aware training has learned them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from zoo import kinds
from zoo.blocks.int8.onednn import REDUCED
from zoo.build import Model, learned_edges
from zoo.compress import quantize
from zoo.compress.bias import input_means
from zoo.compress.data import as_batches, count
from zoo.compress.decision import Decision
from zoo.compress.observers import OBSERVERS
from zoo.compress.quantize import ADVICE
from zoo.compress.sensitivity import row_errors, within_drop
from zoo.spec import ModelSpec, TextInput


def plan(
    model: Model,
    data: Any = None,
    *,
    observer: str = "mse",
    keep_float: int | tuple[str, ...] = (),
    correct_bias: bool = True,
    max_drop: float | None = None,
    labelled: Any = None,
    reduce_range: bool = False,
    dynamic: bool | None = None,
) -> Decision:
    """Range every edge over the calibration inputs `data`; rows named in `keep_float` stay float32.

    A number in `keep_float` asks for that many of the most sensitive rows (`compress.sensitivity`). With `max_drop`, as
    many more stay as it takes to lose at most so many points of top-1 accuracy on `labelled`, (inputs, labels).
    With `reduce_range` weights have 7 bits, so that products do not saturate on x86 without VNNI.
    With `correct_bias`, biases take back the mean shift that rounding the weights makes on the calibration inputs.

    With `dynamic`, Transformers' products take codes of which each token has its own scale: that needs no data, and is
    how language models are made int8 where there is none.

    A network in quantization-aware training needs no data, and takes none: its edges are those it has learned.
    """
    if any(row.precision == "qat" for row in model.spec):
        return _trained(model, data)
    _check(model, observer, keep_float, max_drop, labelled)
    kept = [] if isinstance(keep_float, int) else list(keep_float)
    if dynamic or (dynamic is None and data is None and isinstance(model.spec.input, TextInput)):
        if observer != "mse" or not correct_bias:
            raise ValueError("observer= and correct_bias= are for calibrated int8; dynamic int8 ranges every token.")
        return _dynamic(model, data, kept, reduce_range)
    if data is None:
        raise ValueError(f"{ADVICE}.")
    batches = as_batches(data, ADVICE)
    rows = [row for row in model.spec if row.name not in kept and "int8" in kinds.KINDS[row.kind].precisions]
    edges = quantize.ranged(model, rows, batches, observer)
    means = input_means(model, rows, batches) if correct_bias else {}
    told: dict[str, Any] = {}
    if max_drop is not None:
        ranked = list(row_errors(model, edges, means, batches))
        more, drop = within_drop(model, edges, means, ranked, labelled, max_drop)
        told = {"chosen_by": {"max_drop": max_drop, "drop": round(drop, 4)}}
        kept += more
    elif isinstance(keep_float, int) and keep_float:
        kept += list(row_errors(model, edges, means, batches))[:keep_float]
        told = {"chosen_by": {"sensitivity": keep_float}}
    if reduce_range:
        told["reduce_range"] = True
    edges = quantize.shared(model.spec, {name: of_row for name, of_row in edges.items() if name not in kept})
    recipe = {
        "observer": observer,
        "examples": sum(map(count, batches)),
        "keep_float": [row.name for row in model.spec if row.name in kept],
        "correct_bias": correct_bias,
    }
    return Decision("int8", {"edges": edges, "means": means}, {**recipe, **told})


def respec(spec: ModelSpec, decision: Decision) -> ModelSpec:
    if any(row.precision == "qat" for row in spec):  # who reads codes was settled before the training
        return spec.replace(rows=tuple(r.replace(precision="int8") if r.precision == "qat" else r for r in spec))
    return quantize.respec(spec, decision.choices["edges"], _precision(decision))


def carry(state: Mapping[str, Tensor], spec: ModelSpec, decision: Decision) -> dict[str, Tensor]:
    """Weights folded and rounded; zeros stay zeros."""
    widest = REDUCED if decision.recipe.get("reduce_range") else 127
    choices = decision.choices
    return quantize.carry(state, spec, choices["edges"], _precision(decision), choices["means"], widest)


def _precision(decision: Decision) -> str:
    return "int8_dynamic" if decision.recipe.get("dynamic") else "int8"


def _dynamic(model: Model, data: Any, kept: list[str], reduce_range: bool) -> Decision:
    if data is not None:
        raise ValueError("Dynamic int8 ranges every token as it comes: it takes no calibration=.")
    edges: quantize.Edges = {
        row.name: []
        for row in model.spec
        if row.name not in kept and "int8_dynamic" in kinds.KINDS[row.kind].precisions
    }
    if not edges:
        raise ValueError(f"{model.spec.name} has no rows that range their inputs as they come; {ADVICE}.")
    recipe: dict[str, Any] = {"dynamic": True, "keep_float": [row.name for row in model.spec if row.name in kept]}
    return Decision(
        "int8", {"edges": edges, "means": {}}, {**recipe, **({"reduce_range": True} if reduce_range else {})}
    )


def _trained(model: Model, data: Any) -> Decision:
    if data is not None:
        raise ValueError(f"{model.spec.name} has learned its ranges in training: int8 takes no calibration= for it.")
    edges = {name: edges.tolist() for name, edges in learned_edges(model).items()}
    kept = [row.name for row in model.spec if row.precision == "float32"]
    return Decision("int8", {"edges": edges, "means": {}}, {"trained": "quantization-aware", "keep_float": kept})


def _check(model: Model, observer: str, keep_float: int | tuple[str, ...], max_drop: Any, labelled: Any) -> None:
    spec = model.spec
    if observer not in OBSERVERS:
        raise ValueError(f"Unknown observer {observer!r}; choose one of {OBSERVERS}.")
    if isinstance(spec.input, TextInput) and (max_drop is not None or (isinstance(keep_float, int) and keep_float)):
        raise ValueError("Of a language model, say by name which rows stay: keep_float=('h0', ...).")
    if isinstance(keep_float, int):
        if isinstance(keep_float, bool) or not 0 <= keep_float <= len(spec.rows):
            raise ValueError(f"keep_float is row names, or how many of the {len(spec.rows)} rows, not {keep_float!r}.")
        if max_drop is not None and keep_float:
            raise ValueError("keep_float as a number and max_drop both say how many rows stay float32: give one.")
    elif unknown := set(keep_float) - {row.name for row in spec}:
        raise ValueError(f"keep_float names no rows of {spec.name}: {sorted(unknown)}.")
    if narrow := sorted({row.precision for row in spec} - {"float32"}):
        raise ValueError(f"{spec.name} is {narrow[0]} already; int8 is made of the float network.")
    if (max_drop is None) != (labelled is None):
        raise ValueError("max_drop, in points of top-1 accuracy, and labelled=(inputs, labels) belong together.")
    number = isinstance(max_drop, (int, float)) and not isinstance(max_drop, bool)
    if max_drop is not None and not (number and math.isfinite(max_drop) and max_drop >= 0):
        raise ValueError(f"max_drop is a number of points, 0 or more, not {max_drop!r}.")
