"""What int8 and its training share: folded weights, edges between rows, and the rows' new precision."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from zoo import kinds
from zoo.engine.arithmetic import QParams, quantize_weight
from zoo.engine.int8.feature_embedding import quantized_parts, quantized_rows
from zoo.engine.int8.layer import Int8Layer
from zoo.kinds.streams import edges_of, sources
from zoo.model.build import from_state
from zoo.model.layers import visit_layers
from zoo.passes.bias import correction
from zoo.passes.folding import by_channel, folded
from zoo.spec import Block, ModelSpec

ADVICE = "int8 needs calibration=: a few dozen to a few hundred preprocessed inputs"

Edges = dict[str, list[list[float]]]  # row -> scale and zero point of each of its edges
Means = Mapping[str, list[float]]  # "row.layer." -> the mean of each input channel


@dataclass(frozen=True)
class Rounding:
    """How float weights become int8 codes in -`widest`..`widest`.

    Biases are corrected where `means` are known. `codes` are those of weights, by their int8 keys, that were chosen on
    data; the others are the nearest.
    """

    means: Means = field(default_factory=dict)
    widest: int = 127
    codes: Mapping[str, Tensor] = field(default_factory=dict)

    def __call__(self, key: str, weight: Tensor) -> tuple[Tensor, Tensor]:
        """The codes of the weight at the int8 `key`, and the scale of each output channel."""
        nearest, scale = quantize_weight(weight, self.widest)
        return self.codes.get(key, nearest), scale


def shared(spec: ModelSpec, edges: Edges) -> Edges:
    """The edges, with one tensor between two of the rows having one edge: that of the row that makes it."""
    out = {name: [list(edge) for edge in of_row] for name, of_row in edges.items()}
    for (name, edge), source in sources(spec, [row for row in spec if row.name in edges]).items():
        if source:
            out[name][edges_of(spec[name]).index(edge)] = out[source.name][-1]
    return out


def respec(spec: ModelSpec, edges: Edges, precision: str, *, apart: bool = False, tables: str = "int8") -> ModelSpec:
    """The spec with the rows that have edges in that precision, and codes between neighbours among them.

    With `apart`, every row gives floats: each computes as if it alone were in that precision. `tables` is the precision
    of tables, where they have it.
    """
    if precision == "int8" and tables != "int8":
        spec = respec(spec, edges, precision, apart=apart)
        changed = {row.name for row in spec if row.name in edges and tables in kinds.KINDS[row.kind].precisions}
        return spec.replace(rows=tuple(row.replace(precision=tables) if row.name in changed else row for row in spec))
    if apart:
        alone = {"precision": precision, "emits": "float32"}
        return spec.replace(rows=tuple(row.replace(**alone) if row.name in edges else row for row in spec))
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
    return kinds.KINDS[row.kind].float_io


def carry(
    state: Mapping[str, Tensor],
    spec: ModelSpec,
    edges: Edges,
    precision: str,
    rounding: Rounding,
    *,
    apart: bool = False,
    tables: str = "int8",
) -> dict[str, Tensor]:
    """The state of the rows in that precision; zeros stay zeros. `apart` and `tables` are those of `respec`."""
    out = {}
    for row in spec:
        if row.name not in edges:
            out.update({f"{row.name}.{key}": state[f"{row.name}.{key}"].clone() for key in kinds.state(row)})
            continue
        for layer, weight, bias in _real_layers(state, row, rounding):
            prefix = f"{row.name}.{layer.int8_path}"
            if precision in ("int8", "int8_dynamic"):
                out[f"{prefix}weight"], out[f"{prefix}scale"] = rounding(f"{prefix}weight", weight)
            else:
                out[f"{prefix}weight"] = weight
            if not layer.table:
                out[f"{prefix}bias"] = bias
        extras = kinds.KINDS[row.kind].extras(kinds.arguments(row))
        out.update(_tables(state, row, precision, tables))
        out.update({f"{row.name}.{key}": state[f"{row.name}.{key}"].clone() for key in extras})
        device = next(iter(state.values())).device
        if precision in ("fused", "int8_dynamic") or not edges[row.name]:
            continue
        out[f"{row.name}.edges"] = torch.tensor(edges[row.name], dtype=torch.float32, device=device)
        if precision == "qat" and len(edges[row.name]) > 1:
            out[f"{row.name}.log_scale"] = torch.zeros(len(edges[row.name]) - 1, device=device)
    fresh = [row.name for row in spec if row.name in edges and row.precision != "int8"]
    if precision == "int8":
        return with_whole_biases(respec(spec, edges, precision, apart=apart, tables=tables), out, fresh)
    if precision == "qat" and fresh:
        whole = carry(state, spec, edges, "int8", rounding)
        out |= {key: whole[key] for key in out if key.endswith("bias") and key.partition(".")[0] in fresh}
    return out


def _tables(state: Mapping[str, Tensor], row: Block, precision: str, tables: str) -> dict[str, Tensor]:
    """What the row looks up, in that precision, and the keys of its known values."""
    kind, args, out = kinds.KINDS[row.kind], kinds.arguments(row), dict[str, Tensor]()
    if kind.keys is not None:
        out[f"{row.name}.vocabulary"] = state[f"{row.name}.vocabulary"].clone()
    for table in kind.tables(args):
        prefix = f"{row.name}.{table.path}"
        weight = state[f"{prefix}weight"]
        if precision != "int8" or row.precision != "float32":
            out |= {key: state[key].clone() for key in (f"{prefix}weight", f"{prefix}scale") if key in state}
        elif table.parts:
            out[f"{prefix}weight"], out[f"{prefix}scale"] = quantized_parts(weight, table.parts)
        else:
            bits = 4 if tables == "int4" else 8
            out[f"{prefix}weight"], out[f"{prefix}scale"] = quantized_rows(weight, bits)
    return out


def with_whole_biases(spec: ModelSpec, state: dict[str, Tensor], names: Sequence[str]) -> dict[str, Tensor]:
    """The state of an int8 network, where every bias of the rows called `names` is a whole number of products.

    Runtimes hold biases as such integers. So they and torch add the same.
    """
    fresh = {id(state[key]) for key in state if key.partition(".")[0] in names and key.endswith("bias")}
    model = from_state(spec, state)

    def settle(part: Any, source: QParams, target: QParams | None) -> None:
        if isinstance(part, Int8Layer) and id(part.bias) in fresh:
            product = part.scale.double() * source.scale
            part.bias.copy_((torch.round(part.bias.double() / product) * product).float())

    visit_layers(model, settle)
    return model.state_dict()


def _real_layers(
    state: Mapping[str, Tensor], row: Block, rounding: Rounding
) -> Iterator[tuple[kinds.Layer, Tensor, Tensor]]:
    """(layer, float weight, float bias) of each of the row's layers, batch norm folded."""
    args = kinds.arguments(row)
    for layer in kinds.KINDS[row.kind].layers(args):
        prefix = f"{row.name}.{layer.int8_path}"
        if row.precision == "float32":
            path = f"{row.name}.{layer.path}"
            weight, bias = folded(state, path, layer, args.get("eps", 0.0))
            codes, scale = rounding(f"{prefix}weight", weight)
            rounded = codes.double() * by_channel(scale.double(), weight)
            bias = (bias.double() + correction(weight, rounded, layer, rounding.means, path)).float()
        elif row.precision == "int8":
            codes, scale = state[f"{prefix}weight"], state[f"{prefix}scale"]
            weight, bias = codes.float() * by_channel(scale, codes), state[f"{prefix}bias"].clone()
        else:
            weight, bias = state[f"{prefix}weight"].clone(), state[f"{prefix}bias"].clone()
        yield layer, weight, bias
