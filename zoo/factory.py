"""`create`: from a name to a network with its weights."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from zoo import kinds, listing, registry
from zoo.naming import Name, UnknownName
from zoo.spec import ModelSpec, SpecError

if TYPE_CHECKING:
    from zoo.build import Model

LEAST_SPARSITY = 0.1  # rounding to int8 alone makes a few zeros in a hundred


def create(
    name_or_spec: str | ModelSpec,
    *,
    weights: str | os.PathLike[str] | None = "default",
    num_classes: int | None = None,
    device: str | None = None,
) -> Model:
    """The network of a name, in eval mode.

    `weights`: "default" for those that ship under the name, None for fresh ones, or the folder or file of a saved
    network of that architecture. A ModelSpec has fresh weights by default.
    `num_classes`: another number than the weights' own keeps all but the classifier, which is then fresh and float32.

    Raises UnknownName for a name that stands for nothing, FileError for a file that is damaged or none of ours,
    ValueError for options that do not fit together, such as weights that the name's passes did not make.
    """
    _check_options(num_classes, device)
    if isinstance(name_or_spec, ModelSpec):
        model = _of_spec(name_or_spec, weights)
    elif weights is None:
        model = _fresh(registry.resolve(name_or_spec), num_classes)
    elif weights == "default":
        model = _shipped(name_or_spec)
    else:
        model = _from_file(registry.resolve(name_or_spec), weights)
    if num_classes is not None:
        model = with_classes(model, num_classes)
    return model if device is None else model.to(device)


def with_classes(model: Model, num_classes: int) -> Model:
    """The same trunk under a fresh float32 classifier; the model itself where it has that many classes already."""
    from zoo.build import edit

    head = model.spec.rows[-1]
    if head.kind != "classifier":
        raise ValueError(f"{model.spec.name} ends in a {head.kind}, not in a classifier, so it takes no num_classes.")
    return model if head.args["num_classes"] == num_classes else edit(model, head.name, num_classes=num_classes)


def _of_spec(spec: ModelSpec, weights: str | os.PathLike[str] | None) -> Model:
    if weights is None or weights == "default":
        from zoo.build import build

        return build(spec)
    from zoo.weights.file import load

    model = load(weights)
    if model.spec != spec:
        raise ValueError(f"{os.fspath(weights)} holds a network of another spec; zoo.load(...) reads it as it is.")
    return model


def _fresh(name: Name, num_classes: int | None) -> Model:
    from zoo.build import build

    if name.passes:
        raise ValueError(
            f"A compressed network comes from weights, so {str(name)!r} has no fresh ones: build {name.arch!r} with "
            f'weights=None, train it, then call zoo.compress(model, "{"-".join(name.passes)}").'
        )
    return build(registry.spec(name.arch, num_classes))


def _shipped(text: str) -> Model:
    from zoo.weights.file import load

    entry = listing.find(text)[1]
    if entry is None:
        raise UnknownName(
            f'No weights ship for {text!r}. zoo.create("{text}", weights=None) gives fresh ones, '
            f'zoo.create("{text}", weights="folder or file") your own.'
        )
    model = load(entry.verified())
    if model.spec.name != entry.spec_name:
        raise SpecError(f"{entry.file} holds {model.spec.name!r}, but the manifest says {entry.spec_name!r}.")
    return model


def _from_file(name: Name, weights: str | os.PathLike[str]) -> Model:
    from zoo.weights.file import load

    model = load(weights)
    where, found = os.fspath(weights), model.spec
    if found.name != name.arch and "distilled" not in name.passes:
        raise ValueError(f"{where} holds a {found.name}, not a {name.arch}; zoo.load(...) reads it as it is.")
    int8 = any(row.precision == "int8" for row in found)
    if int8 != ("int8" in name.passes):
        right = Name(name.arch, name.tag, tuple(p for p in name.passes if p != "int8") + (("int8",) if int8 else ()))
        raise ValueError(f"{where} holds {'int8' if int8 else 'float32'} weights: that is {right}, not {name}.")
    dense = _dense(found)
    if not {"distilled", "pruned"} & set(name.passes) and dense and _widths(found) != _widths(dense):
        raise ValueError(f"{where} holds a {name.arch} of other widths: a pruned one is named {name.arch}-pruned.")
    if "pruned" in name.passes and dense and kinds.cost(found).parameters >= kinds.cost(dense).parameters:
        raise ValueError(f"{where} holds a {found.name} of full width; nothing is pruned there, so it is no {name}.")
    if "sparse" in name.passes and (zeros := _share_of_zeros(model)) < LEAST_SPARSITY:
        raise ValueError(
            f"{where} holds weights of which {zeros:.1%} are zero; that is not sparse, so it is no {name}."
        )
    return model


def _dense(found: ModelSpec) -> ModelSpec | None:
    """The registered network of the spec's name, with as many classes; None for a name that is not registered."""
    if found.name not in registry.MODELS:
        return None
    return registry.spec(found.name, found.rows[-1].args.get("num_classes"))


def _share_of_zeros(model: Model) -> float:
    weights = [tensor for key, tensor in model.state_dict().items() if key.endswith(".weight") and tensor.dim() >= 2]
    return sum(int((one == 0).sum()) for one in weights) / sum(one.numel() for one in weights)


def _widths(spec: ModelSpec) -> list[tuple[str, str, dict[str, int]]]:
    return [(row.kind, row.name, kinds.layer_widths(row)) for row in spec]


def _check_options(num_classes: int | None, device: str | None) -> None:
    whole = isinstance(num_classes, int) and not isinstance(num_classes, bool)
    if num_classes is not None and not (whole and num_classes >= 1):
        raise ValueError(f"num_classes is a whole number of at least 1, not {num_classes!r}.")
    if device is None:
        return
    import torch

    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, TypeError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"Device {device!r} cannot be used here ({reason}); 'cpu' always can.") from None
