"""Give the residual streams of a trained int8 network one scale each: its weights and its other edges stay.

Quantization-aware training learned each scale by itself when that network was made. What `zoo.compress` chooses for
float networks is chosen here for the float network of the trained weights.
"""

from __future__ import annotations

import torch
from torch import Tensor

from zoo import kinds
from zoo.kinds.streams import edges_of, streams
from zoo.model.build import Model, build, copy_metadata, from_state
from zoo.passes import quantize
from zoo.passes.folding import by_channel
from zoo.passes.ranges import observe

BATCH = 128


def with_one_scale(model: Model, inputs: Tensor) -> Model:
    """The int8 `model` with the streams' edges as they are ranged over `inputs` (N, C, H, W)."""
    rows = [row for row in model.spec.rows if row.precision == "int8"]
    plain = _floats(model)
    names = [row.name for row in rows]
    observed = observe(plain, rows, inputs.split(BATCH), "mse")
    edges, sums = observed.edges(names), observed.sums(names)
    places = {place for stream in streams(plain.spec, rows) for place in stream}
    for row in rows:
        learned = model.get_submodule(row.name).edges.tolist()  # type: ignore[operator, union-attr]
        for number, edge in enumerate(edges_of(row)):
            if (row.name, edge) not in places:
                edges[row.name][number] = learned[number]
    state = {key: value.clone() for key, value in model.state_dict().items()}
    state |= {f"{name}.edges": torch.tensor(of_row) for name, of_row in quantize.shared(model.spec, edges).items()}
    state = quantize.with_whole_biases(model.spec, state, names)
    out = copy_metadata(from_state(model.spec, state), model)
    *before, last = model.made["passes"]
    out.made = {**model.made, "passes": [*before, {**last, "sums": sums}]}
    return out


def _floats(model: Model) -> Model:
    """The float network of an int8 network's weights, its norms without effect."""
    rows = tuple(row.replace(precision="float32", emits="float32") for row in model.spec.rows)
    spec, given = model.spec.replace(rows=rows), model.state_dict()
    state = build(spec).state_dict()
    for row in spec.rows:
        args = kinds.arguments(row)
        for layer in kinds.KINDS[row.kind].layers(args):
            ours, theirs = f"{row.name}.{layer.path}", f"{row.name}.{layer.int8_path}"
            weight, scale, bias = (given[theirs + part] for part in ("weight", "scale", "bias"))
            real = weight.float() * by_channel(scale, weight)
            if not layer.norm:
                state |= {f"{ours}weight": real, f"{ours}bias": bias}
                continue
            state |= {f"{ours}conv.weight": real, f"{ours}bn.bias": bias}
            state |= {f"{ours}bn.weight": torch.ones_like(bias), f"{ours}bn.running_mean": torch.zeros_like(bias)}
            state[f"{ours}bn.running_var"] = torch.full_like(bias, 1 - args["eps"])
    return from_state(spec, state)
