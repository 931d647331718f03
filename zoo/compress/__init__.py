"""`compress(model, "pruned-int8", ...)`: the passes, one after another; the model given stays as it is.

A pass is three functions: `plan(model, data) -> Decision`, `respec(spec, decision) -> spec` (no torch needed), and
`carry(state, spec, decision) -> state`. `convert` is the three and a build.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

from zoo.build import Model, describe, from_state, is_whole
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
    drop_blocks: int | tuple[str, ...] | None = None,
    sparsity: float | None = None,
    scope: str | None = None,
    observer: str | None = None,
    keep_float: int | tuple[str, ...] | None = None,
    max_drop: float | None = None,
    labelled: Any = None,
    correct_bias: bool | None = None,
    reduce_range: bool | None = None,
    dynamic: bool | None = None,
) -> Model:
    """A new model with the passes applied, in their order: "pruned", "sparse", "int8", joined by hyphens.

    pruned: one of `ratio` (channels to drop), `macs` or `parameters` (share to keep; half of the MACs where none is
    given), by `importance` ("l1", "l2", "bn_scale", "taylor", the last with labelled `data`), or whole Transformer
    blocks (`drop_blocks`). sparse: `sparsity`, `scope`. int8: `calibration`, a tensor of preprocessed inputs, a dict of
    such (text) or an iterable of either; `observer` ("mse", "minmax", "percentile"); rows in `keep_float` stay float32,
    by name, or so many of the most sensitive by their number; `max_drop` keeps as many as it takes to lose at most so
    many points of top-1 accuracy on `labelled`, a pair (inputs, labels) or an iterable of such; `correct_bias` (on)
    undoes the mean shift of rounded weights; `reduce_range` (off) gives weights 7 bits, for x86 without VNNI; `dynamic`
    ranges each token of a Transformer as it comes, without calibration (the default of a language model where none is
    given). A network of `zoo.prepare_qat` becomes int8 with the ranges that it has learned, and takes none of these.
    What is left out has the default of the pass's own `plan`. Pruning and sparsity usually want training afterwards.
    Raises ValueError for anything that cannot be done.
    """
    if not is_whole(model) or not isinstance(passes, str):
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
            "drop_blocks": drop_blocks,
        },
        "sparse": {"sparsity": sparsity, "scope": scope},
        "int8": {
            "data": calibration,
            "observer": observer,
            "keep_float": keep_float,
            "max_drop": max_drop,
            "labelled": labelled,
            "correct_bias": correct_bias,
            "reduce_range": reduce_range,
            "dynamic": dynamic,
        },
    }
    given = {name: {key: value for key, value in of.items() if value is not None} for name, of in options.items()}
    for name, found in given.items():
        names = ", ".join("calibration" if name == "int8" and key == "data" else key for key in found)
        if found and name not in wanted:
            raise ValueError(f"{names}: for the pass {name!r}, which {passes!r} does not ask for.")
        if found and name == "int8" and any(row.precision == "qat" for row in model.spec):
            raise ValueError(
                f"{names}: {model.spec.name} was trained quantization-aware, so its ranges and its rows are settled; "
                'compress(model, "int8") alone makes it int8.'
            )
    if not {"ratio", "macs", "parameters", "drop_blocks"} & set(given["pruned"]):
        given["pruned"]["macs"] = 0.5
    model = sparsify.unmasked(model)
    for name in wanted:
        model = convert(model, PASSES[name].plan(model, **given[name]))
    return model


def convert(model: Model, decision: Decision) -> Model:
    """The model that a decision makes of this one."""
    one = PASSES[decision.name]
    state = one.carry(model.state_dict(), model.spec, decision)
    made = describe(from_state(one.respec(model.spec, decision), state), model)
    before = model.made.get("passes", [])
    if decision.name == "int8":  # of a network that was int8 before it was trained again, or in training
        before = [one for one in before if one.get("pass") not in ("int8", "qat")]
    made.made = {**model.made, "passes": [*before, decision.made()]}
    return made
