"""`w8` and `w4`: integer weights, float products. Nothing is ranged, so no data is needed."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from zoo import kinds
from zoo.engine.arithmetic import quantize_weight
from zoo.engine.weight_only import bits
from zoo.model.build import Model
from zoo.passes.decision import Decision
from zoo.passes.options import Options
from zoo.spec import ModelSpec


def plan(name: str, model: Model, options: Options | None = None) -> Decision:
    """All rows of a decoder that have the pass's form; it has no options."""
    spec = model.spec
    if spec.task != "text-generation":
        raise ValueError(
            f"{name} is for decoders, whose time for a token goes into reading weights; {spec.name} is for "
            f'{spec.task}: take "int8".'
        )
    if narrow := sorted({row.precision for row in spec} - {"float32"}):
        raise ValueError(f"{spec.name} is {narrow[0]} already: give the float network.")
    return Decision(name, {"rows": [row.name for row in spec if name in kinds.KINDS[row.kind].precisions]})


def respec(spec: ModelSpec, decision: Decision) -> ModelSpec:
    chosen = set(decision.choices["rows"])
    return spec.replace(rows=tuple(r.replace(precision=decision.name) if r.name in chosen else r for r in spec))


def carry(state: Mapping[str, Tensor], spec: ModelSpec, decision: Decision) -> dict[str, Tensor]:
    """Weights rounded to the nearest."""
    out = {}
    for row in spec:
        layers = {f"{row.name}.{one.path}": one for one in kinds.KINDS[row.kind].layers(kinds.arguments(row))}
        if row.name not in decision.choices["rows"]:
            layers = {}
        for key in kinds.state(row):
            whole = f"{row.name}.{key}"
            layer = layers.get(whole.removesuffix("weight")) if key.endswith("weight") else None
            if layer is None:
                out[whole] = state[whole].clone()
            elif decision.name == "w4" and not layer.table:
                out |= {whole.removesuffix("weight") + part: one for part, one in bits.rounded(state[whole]).items()}
            else:
                out[whole], out[whole.removesuffix("weight") + "scale"] = quantize_weight(state[whole], 127)
    return out
