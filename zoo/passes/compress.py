"""`compress(model, "pruned-int8", ...)`: the passes, one after another; the model given stays as it is.

`zoo.passes` says which passes there are and what each may be told. `convert` is a pass's three functions and a build.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor

from zoo import kinds, tasks
from zoo.checks import noted
from zoo.model.answer import answer
from zoo.model.build import Model, copy_metadata, from_state, is_whole, not_a_model
from zoo.model.defaults import usual_defaults
from zoo.model.verify import rebuildable
from zoo.naming import parse_passes
from zoo.passes import PASSES, arguments, in_order, told
from zoo.passes.data import Calibration, as_calibration, count, prepared
from zoo.passes.decision import Decision
from zoo.passes.quantize import ADVICE
from zoo.passes.sparsify import ADVICE as SPARSE_ADVICE
from zoo.tasks.metrics import choices

__all__ = ["Decision", "compress", "convert"]

MOST_TRIED = 64  # inputs that a quantized network answers before it is handed out


@usual_defaults()
def compress(
    model: Model, passes: str, *, calibration: Any = None, data: Any = None, labelled: Any = None, **options: Any
) -> Model:
    """A new model with the passes applied, in their order; the model given stays as it is.

    Pruning and sparsity usually want training afterwards. Raises ValueError for anything that cannot be done: an option
    of a pass that is not asked for, one that there is not, or a value out of its bounds.

    >>> import torch
    >>> import zoo
    >>> model = zoo.create("resnet20", weights=None)
    >>> vit = zoo.create("vit_tiny_patch16_224", weights=None)
    >>> recommender = zoo.create("deepfm", weights=None)
    >>> rows = recommender.spec.input.example(8)
    >>> images, labels = torch.randn(8, 3, 32, 32), torch.arange(8)

    model (Model): The network to start from. `zoo.adopt` makes one of a network of timm or torchvision.
        >>> made = zoo.compress(model, "sparse")

    passes (str): One pass, or several in their order, joined by hyphens: "pruned", "sparse", "int8", "pruned-int8".
        >>> made = zoo.compress(model, "pruned-sparse-int8", calibration=images)

    calibration (inputs; default None): For int8: a few dozen to a few hundred preprocessed inputs to range its edges
        on. For pruned and sparse: a hundred or more on which they find what goes and solve the rest again, without
        training; pruned uses 256 at most. Their record has the agreement on a quarter of the inputs, of a network that
        was solved on the others. A tensor (N, C, H, W), a dict of tensors (texts), or an iterable of either; a table,
        for a recommender; labels beside them are left out. Without it, pruned and sparse judge weights by their size.
        A language model needs none for int8. A network of `zoo.prepare_qat` has learned its ranges, and takes none.
        >>> made = zoo.compress(model, "int8", calibration=[images[:4], images[4:]])

    data (inputs with labels; default None): For pruned: what importance="taylor" judges channels by, (inputs, labels)
        or an iterable of such pairs; or inputs alone, on which drop_blocks=, as a number, finds the blocks.
        >>> made = zoo.compress(model, "pruned", importance="taylor", data=[(images, labels)])

    labelled (inputs with labels; default None): For int8: (inputs, labels) that max_drop= is measured on.
        >>> made = zoo.compress(model, "int8", calibration=images, max_drop=20.0, labelled=(images, labels))

    options: Those of the passes asked for; None stands for an option's default.
    """
    if not is_whole(model):
        raise not_a_model("compress", model)
    if not isinstance(passes, str):
        raise ValueError(f'compress takes passes as a string like "pruned-int8", not {passes!r}.')
    wanted = parse_passes(passes)
    if not wanted:
        known = ", ".join(one.name for one in in_order() if one.training != "only")
        raise ValueError(f"Nothing to do: {passes!r} names no pass; choose from {known}, joined by hyphens.")
    calibration, data, labelled = (prepared(given, model) for given in (calibration, data, labelled))
    chosen = told(wanted, {"calibration": calibration, "data": data, "labelled": labelled, **options})
    noted(model.made, "passes")  # refused now, not when the work is done
    model = rebuildable(model, "compress", float32=True)
    if calibration is not None:
        if not any("calibration" in inputs and settings.uses("calibration") for settings, inputs in chosen.values()):
            raise ValueError(f"calibration= is of no use to {passes!r} with these options: leave it out.")
        advice = ADVICE if "int8" in wanted else SPARSE_ADVICE
        calibration = Calibration(map(model.completed, as_calibration(calibration, advice, model)))
    for name in tuple(chosen):
        settings, inputs = chosen[name]
        inputs = {what: given for what, given in inputs.items() if settings.uses(what)}
        if "calibration" in inputs:
            inputs["calibration"] = calibration
        before, model = model, convert(model, PASSES[name].load().plan(model, settings, **inputs))
        if "calibration" in inputs:
            _warn_of_one_answer(before, model, calibration, name)
        if before.spec.input != model.spec.input:  # values have left: what comes next takes their new numbers
            calibration, chosen = _renumbered(before, model, calibration, chosen)
    return model


if compress.__doc__:
    compress.__doc__ = compress.__doc__.rstrip() + "\n" + arguments() + "\n    "


def _renumbered(
    before: Model, model: Model, calibration: list[Any] | None, chosen: dict[str, Any]
) -> tuple[list[Any] | None, dict[str, Any]]:
    """(calibration, settings and inputs) of the network before, as `model` takes them."""
    renumber = before.spec.input.fetch("translation")(before, model)
    if calibration is not None:
        calibration = [renumber(batch) for batch in calibration]
    later = {}
    for name, (settings, inputs) in chosen.items():
        pair = inputs.get("labelled")
        if isinstance(pair, tuple) and isinstance(pair[0], Tensor):
            inputs = {**inputs, "labelled": (renumber(pair[0]), *pair[1:])}
        later[name] = (settings, inputs)
    return calibration, later


def _warn_of_one_answer(before: Model, model: Model, batches: list[Any], name: str = "int8") -> None:
    """Where the new network gives one class to inputs for which the one before has several."""
    if not (kinds.classes(model.spec) and tasks.of(model.spec).has_classes):
        return
    classes, found = set[int](), set[int]()
    seen = 0
    with torch.inference_mode():
        for batch in batches:
            found |= set(choices(answer(model, batch)).tolist())
            classes |= set(choices(answer(before, batch)).tolist())
            seen += count(batch)
            if len(found) > 1 or seen >= MOST_TRIED:
                break
    if len(found) == 1 and len(classes) > 1:
        warnings.warn(
            f"{model.spec.name} in {name} gives one class ({found.pop()}) to all {seen} calibration inputs tried, the "
            f"float network {len(classes)}: its answers are useless. Other calibration may help"
            f"{', or keep_float=' if 'keep_float' in PASSES[name].options.names() else ''}.",
            UserWarning,
            stacklevel=4,
        )


def convert(model: Model, decision: Decision) -> Model:
    """The model that a decision makes of this one."""
    one, functions = PASSES[decision.name], PASSES[decision.name].load()
    state = functions.carry(model.state_dict(), model.spec, decision)
    made = copy_metadata(from_state(functions.respec(model.spec, decision), state), model)
    before = [earlier for earlier in noted(model.made, "passes") if earlier.get("pass") not in one.replaces]
    made.made = {**model.made, "passes": [*before, decision.made()]}
    return made
