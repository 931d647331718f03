"""`compress(model, "pruned-int8", ...)`: the passes, one after another; the model given stays as it is.

A pass is three functions: `plan(model, data) -> Decision`, `respec(spec, decision) -> spec` (no torch needed), and
`carry(state, spec, decision) -> state`. `convert` is the three and a build.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

from zoo.build import Model, from_state
from zoo.compress import distill, int8, prune, sparsify
from zoo.compress.decision import Decision
from zoo.naming import parse_passes

__all__ = ["Decision", "compress", "convert"]

PASSES: dict[str, ModuleType] = {"pruned": prune, "sparse": sparsify, "int8": int8}


def compress(
    model: Model,
    passes: str,
    *,
    calibration: Any = None,
    data: Any = None,
    ratio: float | None = None,
    macs: float | None = None,
    parameters: float | None = None,
    importance: str | None = None,
    round_to: int | None = None,
    keep_at_least: float | None = None,
    sparsity: float | None = None,
    scope: str | None = None,
    observer: str | None = None,
    keep_float: tuple[str, ...] | None = None,
    correct_bias: bool | None = None,
) -> Model:
    """A new model with the passes applied, in their order: "pruned", "sparse", "int8", joined by hyphens.

    pruned: one of `ratio` (channels to drop), `macs` or `parameters` (share to keep; half of the MACs where none is
    given), by `importance` ("l1", "l2", "bn_scale", "taylor", the last with labelled `data`). sparse: `sparsity`,
    `scope`. int8: `calibration`, a tensor of preprocessed inputs or an iterable of such; `observer` ("mse", "minmax",
    "percentile"); rows in `keep_float` stay float32; `correct_bias` (on) undoes the mean shift of rounded weights.
    What is left out has the default of the pass's own `plan`.
    Pruning and sparsity usually want training afterwards. Raises ValueError for anything that cannot be done.
    """
    if type(model) is not Model or not isinstance(passes, str):
        raise ValueError(
            f'compress takes a zoo model and a string like "pruned-int8", not {type(model).__name__} and {passes!r}.'
        )
    wanted = parse_passes(passes)
    if not wanted:
        raise ValueError(
            f"Nothing to do: {passes!r} names no pass; choose from {', '.join(PASSES)}, joined by hyphens."
        )
    if "distilled" in wanted:
        distill.refuse(model.spec.name)
    options: dict[str, dict[str, Any]] = {
        "pruned": {
            "data": data,
            "ratio": ratio,
            "macs": macs,
            "parameters": parameters,
            "importance": importance,
            "round_to": round_to,
            "keep_at_least": keep_at_least,
        },
        "sparse": {"sparsity": sparsity, "scope": scope},
        "int8": {"data": calibration, "observer": observer, "keep_float": keep_float, "correct_bias": correct_bias},
    }
    given = {name: {key: value for key, value in of.items() if value is not None} for name, of in options.items()}
    for name, found in given.items():
        if found and name not in wanted:
            names = ", ".join("calibration" if name == "int8" and key == "data" else key for key in found)
            raise ValueError(f"{names}: for the pass {name!r}, which {passes!r} does not ask for.")
    if not {"ratio", "macs", "parameters"} & set(given["pruned"]):
        given["pruned"]["macs"] = 0.5
    model = _unmasked(model)
    for name in wanted:
        model = convert(model, PASSES[name].plan(model, **given[name]))
    return model


def convert(model: Model, decision: Decision) -> Model:
    """The model that a decision makes of this one."""
    one = PASSES[decision.name]
    state = one.carry(model.state_dict(), model.spec, decision)
    made = from_state(one.respec(model.spec, decision), state)
    made.labels = model.labels
    made.made = {**model.made, "passes": [*model.made.get("passes", []), decision.made()]}
    return made


def _unmasked(model: Model) -> Model:
    """The model itself, or, where `torch.nn.utils.prune` has masked it, one with the masks applied."""
    state = sparsify.merge_masks(model.state_dict())
    if state.keys() == model.state_dict().keys():
        return model
    plain = from_state(model.spec, state)
    plain.labels, plain.made = model.labels, model.made
    return plain
