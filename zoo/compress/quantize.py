"""What int8 and its training share: ranges from data, folded weights, and the rows' new precision."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from zoo import kinds
from zoo.blocks.int8.arithmetic import quantize_weight
from zoo.build import Model
from zoo.compress.bias import correction
from zoo.compress.data import Batch, answer
from zoo.compress.observers import OBSERVERS, Histogram, edge_range, scale_and_zero
from zoo.spec import Block, ModelSpec

ADVICE = "int8 needs calibration=: a few dozen to a few hundred preprocessed inputs"

Edges = dict[str, list[list[float]]]  # row -> scale and zero point of each of its edges
Means = Mapping[str, list[float]]  # "row.layer." -> the mean of each input channel


def ranged(model: Model, rows: Sequence[Block], batches: Sequence[Batch], observer: str) -> Edges:
    """Every edge of `rows` as it was ranged over the batches."""
    if observer not in OBSERVERS:
        raise ValueError(f"Unknown observer {observer!r}; choose one of {OBSERVERS}.")
    histograms = _observe(model, rows, batches)
    return {
        row.name: [list(scale_and_zero(*edge_range(histograms[row.name, edge], observer))) for edge in edges_of(row)]
        for row in rows
    }


def edges_of(row: Block) -> tuple[str, ...]:
    return kinds.KINDS[row.kind].edges(kinds.arguments(row))


def shared(spec: ModelSpec, edges: Edges) -> Edges:
    """The edges, with one tensor between two of the rows having one edge: that of the row that makes it."""
    out = {name: [list(edge) for edge in of_row] for name, of_row in edges.items()}
    for before, row in zip(spec.rows, spec.rows[1:], strict=False):
        if before.name in out and row.name in out and not (_floats(before) or _floats(row)):
            out[row.name][0] = out[before.name][-1]
    return out


def respec(spec: ModelSpec, edges: Edges, precision: str) -> ModelSpec:
    """The spec with the rows that have edges in that precision, and codes between neighbours among them."""
    following = [None if _floats(row) else row.name for row in spec.rows[1:]] + [None]
    return spec.replace(
        rows=tuple(
            row.replace(precision=precision, emits="uint8" if after in edges and not _floats(row) else "float32")
            if row.name in edges
            else row
            for row, after in zip(spec.rows, following, strict=True)
        )
    )


def _floats(row: Block) -> bool:
    return kinds.KINDS[row.kind].floats


def carry(
    state: Mapping[str, Tensor],
    spec: ModelSpec,
    edges: Edges,
    precision: str,
    means: Means,
    widest: int = 127,
) -> dict[str, Tensor]:
    """The state of the rows in that precision; zeros stay zeros. Where `means` are known, biases are corrected.

    int8 weights are codes in -widest..widest.
    """
    out = {}
    for row in spec:
        if row.name not in edges:
            out.update({f"{row.name}.{key}": state[f"{row.name}.{key}"].clone() for key in kinds.state(row)})
            continue
        for layer, weight, bias in _real_layers(state, row, means, widest):
            prefix = f"{row.name}.{layer.int8_path}"
            if precision in ("int8", "int8_dynamic"):
                out[f"{prefix}weight"], out[f"{prefix}scale"] = quantize_weight(weight, widest)
            else:
                out[f"{prefix}weight"] = weight
            if not layer.table:
                out[f"{prefix}bias"] = bias
        extras = kinds.KINDS[row.kind].extras(kinds.arguments(row))
        out.update({f"{row.name}.{key}": state[f"{row.name}.{key}"].clone() for key in extras})
        device = next(iter(state.values())).device
        if precision in ("fused", "int8_dynamic") or not edges[row.name]:
            continue
        out[f"{row.name}.edges"] = torch.tensor(edges[row.name], dtype=torch.float32, device=device)
        if precision == "qat" and len(edges[row.name]) > 1:
            out[f"{row.name}.stretch"] = torch.zeros(len(edges[row.name]) - 1, device=device)
    return out


def _real_layers(
    state: Mapping[str, Tensor], row: Block, means: Means, widest: int
) -> Iterator[tuple[kinds.Layer, Tensor, Tensor]]:
    """(layer, float weight, float bias) of each of the row's layers, batch norm folded."""
    args = kinds.arguments(row)
    for layer in kinds.KINDS[row.kind].layers(args):
        prefix = f"{row.name}.{layer.int8_path}"
        if row.precision == "float32":
            path = f"{row.name}.{layer.path}"
            weight, bias = _folded(state, path, layer, args.get("eps", 0.0))
            codes, scale = quantize_weight(weight, widest)
            rounded = codes.double() * _by_channel(scale.double(), weight)
            bias = (bias.double() + correction(weight, rounded, layer, means, path)).float()
        elif row.precision == "int8":
            codes, scale = state[f"{prefix}weight"], state[f"{prefix}scale"]
            weight, bias = codes.float() * _by_channel(scale, codes), state[f"{prefix}bias"].clone()
        else:
            weight, bias = state[f"{prefix}weight"].clone(), state[f"{prefix}bias"].clone()
        yield layer, weight, bias


def _folded(state: Mapping[str, Tensor], prefix: str, layer: kinds.Layer, eps: float) -> tuple[Tensor, Tensor]:
    if not layer.norm:
        weight = state[f"{prefix}weight"].float().clone()
        return weight, state[f"{prefix}bias"] if layer.bias else weight.new_zeros(len(weight))
    weight = state[f"{prefix}conv.weight"]
    gamma, beta, mean, var = (state[f"{prefix}bn.{p}"] for p in ("weight", "bias", "running_mean", "running_var"))
    factor = gamma.double() / (var.double() + eps).sqrt()
    return (weight.double() * _by_channel(factor, weight)).float(), (beta.double() - mean.double() * factor).float()


def _by_channel(factor: Tensor, weight: Tensor) -> Tensor:
    """(O,) to a shape that multiplies weights (O, ...)."""
    return factor.view(-1, *[1] * (weight.dim() - 1))


def _observe(model: Model, rows: Sequence[Block], batches: Sequence[Batch]) -> dict[tuple[str, str], Histogram]:
    """(row, edge) -> what flowed there, by forward hooks on a copy."""
    watched = copy.deepcopy(model).eval()
    histograms = {(row.name, edge): Histogram() for row in rows for edge in edges_of(row)}
    look = {"method": "widen"}

    def watch(key: tuple[str, str]) -> None:
        row_name, edge = key
        module = watched.get_submodule(row_name)
        if edge == "in" or edge.startswith("<"):
            part = module if edge == "in" else module.get_submodule(edge[1:])
            part.register_forward_pre_hook(lambda m, x: getattr(histograms[key], look["method"])(x[0]))
        else:
            part = module if edge == "out" else module.get_submodule(edge)
            part.register_forward_hook(lambda m, x, y: getattr(histograms[key], look["method"])(y))

    for key in histograms:
        watch(key)
    with torch.inference_mode():
        for look["method"] in ("widen", "count"):
            for batch in batches:
                answer(watched, batch)
    return histograms
