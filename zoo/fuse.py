"""`fuse`: the dense network for inference."""

from __future__ import annotations

from zoo import kinds
from zoo.build import Model, describe, from_state, is_whole
from zoo.compress import quantize
from zoo.spec import Block


def _can(row: Block) -> bool:
    return "fused" in kinds.KINDS[row.kind].precisions


def fuse(model: Model) -> Model:
    """A new model with batch norm folded into the weights, equal to 1e-5, and quicker on a CPU.

    On first use its weights are packed for oneDNN, with activations and sums inside of the convolutions; where torch
    lacks those operators, on other devices and under autograd the folded network runs plainly. Rows in int8 stay as
    they are. It is for inference in float32: compress or train the network it was made of. Raises ValueError for one
    in quantization-aware training.
    """
    if not is_whole(model):
        raise ValueError(f"fuse takes a zoo model, not {type(model).__name__}.")
    if any(row.precision == "qat" for row in model.spec):
        raise ValueError(f'{model.spec.name} is in quantization-aware training: zoo.compress(model, "int8") ends it.')
    fused = [row.name for row in model.spec if row.precision == "float32" and kinds.state(row) and _can(row)]
    spec = model.spec.replace(
        rows=tuple(row.replace(precision="fused") if row.name in fused else row for row in model.spec)
    )
    state = quantize.carry(model.state_dict(), model.spec, {name: [] for name in fused}, "fused", {})
    out = from_state(spec, {key: state[key] for key in kinds.model_state(spec)})
    return describe(out, model)
