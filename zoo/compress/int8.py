"""`int8`: static post-training quantization. Batch norm is folded, weights are int8 for each output channel, and the
uint8 edges between layers are ranged over calibration data."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from zoo import kinds
from zoo.blocks.int8.arithmetic import quantize_weight
from zoo.build import Model
from zoo.compress.bias import correction, input_means
from zoo.compress.data import as_batches
from zoo.compress.decision import Decision
from zoo.compress.observers import OBSERVERS, Histogram, edge_range, scale_and_zero
from zoo.spec import Block, ModelSpec

ADVICE = "int8 needs calibration=: a few dozen to a few hundred preprocessed inputs"


def plan(
    model: Model,
    data: Any = None,
    *,
    observer: str = "mse",
    keep_float: tuple[str, ...] = (),
    correct_bias: bool = True,
) -> Decision:
    """Range every edge over the calibration inputs `data`; rows named in `keep_float` stay float32.

    With `correct_bias`, biases take back the mean shift that rounding the weights makes on those inputs.
    """
    if observer not in OBSERVERS:
        raise ValueError(f"Unknown observer {observer!r}; choose one of {OBSERVERS}.")
    unknown = set(keep_float) - {row.name for row in model.spec}
    if unknown:
        raise ValueError(f"keep_float names no rows of {model.spec.name}: {sorted(unknown)}.")
    if any(row.precision != "float32" for row in model.spec):
        raise ValueError(f"{model.spec.name} is int8 already.")
    if data is None:
        raise ValueError(f"{ADVICE}.")
    batches = as_batches(data, ADVICE)
    rows = [row for row in model.spec if row.name not in keep_float]
    histograms = _observe(model, rows, batches)
    chosen: dict[str, list[list[float]]] = {}
    for row in rows:
        edges = kinds.KINDS[row.kind].edges(kinds.arguments(row))
        ranges = [edge_range(histograms[row.name, edge], observer) for edge in edges]
        chosen[row.name] = [list(scale_and_zero(*r)) for r in ranges]
    for before, row in zip(model.spec.rows, model.spec.rows[1:], strict=False):
        if before.name in chosen and row.name in chosen:  # one tensor, one edge
            chosen[row.name][0] = chosen[before.name][-1]
    examples = sum(len(batch) for batch in batches)
    return Decision(
        "int8",
        {"edges": chosen, "means": input_means(model, rows, batches) if correct_bias else {}},
        {"observer": observer, "examples": examples, "keep_float": list(keep_float), "correct_bias": correct_bias},
    )


def respec(spec: ModelSpec, decision: Decision) -> ModelSpec:
    chosen = decision.choices["edges"]
    following = [row.name for row in spec.rows[1:]] + [""]
    return spec.replace(
        rows=tuple(
            row.replace(precision="int8", emits="uint8" if after in chosen else "float32")
            if row.name in chosen
            else row
            for row, after in zip(spec.rows, following, strict=True)
        )
    )


def carry(state: Mapping[str, Tensor], spec: ModelSpec, decision: Decision) -> dict[str, Tensor]:
    """Weights folded and rounded; zeros stay zeros."""
    chosen, means, out = decision.choices["edges"], decision.choices["means"], {}
    for row in spec:
        if row.name not in chosen:
            out.update({f"{row.name}.{key}": state[f"{row.name}.{key}"].clone() for key in kinds.state(row)})
            continue
        args = kinds.arguments(row)
        for layer in kinds.KINDS[row.kind].layers(args):
            weight, bias = _folded(state, f"{row.name}.{layer.path}", layer.norm, args.get("eps", 0.0))
            prefix = f"{row.name}.{layer.int8_path}"
            codes, scale = quantize_weight(weight)
            rounded = codes.double() * scale.double().view(-1, *[1] * (weight.dim() - 1))
            shift = correction(weight, rounded, layer, means, f"{row.name}.{layer.path}")
            out[f"{prefix}weight"], out[f"{prefix}scale"] = codes, scale
            out[f"{prefix}bias"] = (bias.double() + shift).float()
        device = next(iter(state.values())).device
        out[f"{row.name}.edges"] = torch.tensor(chosen[row.name], dtype=torch.float32, device=device)
    return out


def _folded(state: Mapping[str, Tensor], prefix: str, norm: bool, eps: float) -> tuple[Tensor, Tensor]:
    if not norm:
        return state[f"{prefix}weight"], state[f"{prefix}bias"].clone()
    weight = state[f"{prefix}conv.weight"]
    gamma, beta, mean, var = (state[f"{prefix}bn.{p}"] for p in ("weight", "bias", "running_mean", "running_var"))
    factor = gamma.double() / (var.double() + eps).sqrt()
    folded = weight.double() * factor.view(-1, *[1] * (weight.dim() - 1))
    return folded.float(), (beta.double() - mean.double() * factor).float()


def _observe(model: Model, rows: list[Block], batches: list[Tensor]) -> dict[tuple[str, str], Histogram]:
    """(row, edge) -> what flowed there, by forward hooks on a copy."""
    watched = copy.deepcopy(model).eval()
    histograms = {
        (row.name, edge): Histogram() for row in rows for edge in kinds.KINDS[row.kind].edges(kinds.arguments(row))
    }
    look = {"method": "widen"}

    def watch(key: tuple[str, str]) -> None:
        row_name, edge = key
        module = watched.get_submodule(row_name)
        if edge == "in":
            module.register_forward_pre_hook(lambda m, x: getattr(histograms[key], look["method"])(x[0]))
        else:
            part = module if edge == "out" else module.get_submodule(edge)
            part.register_forward_hook(lambda m, x, y: getattr(histograms[key], look["method"])(y))

    for key in histograms:
        watch(key)
    with torch.inference_mode():
        for look["method"] in ("widen", "count"):
            for batch in batches:
                watched(batch)
    return histograms
