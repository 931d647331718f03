"""`edit`: the legal way to change a row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from zoo import kinds
from zoo.checks import noted
from zoo.model.build import Model, copy_metadata, fresh_rows, from_state, learned_edges
from zoo.model.defaults import usual_defaults
from zoo.model.verify import rebuildable
from zoo.spec import ModelSpec, SpecError


@usual_defaults()
def edit(model: Model, row: str, **changes: Any) -> Model:
    """Change the arguments of one row; the row keeps its tensors if their shapes still fit, and starts fresh if not.

    Other input channels adapt the weights of the first layer as timm does, so that a grey picture gives what it gave
    in colour. A fresh row is float32, also in an int8 network.

    Args:
        model (Model): the network; it stays as it is.
        row (str): the name of the row, one of `[row.name for row in model.spec]`.
        **changes (Any): new values of the row's arguments, as `model.spec[row].args` names them.

    Returns:
        A new `Model`, in eval mode. A fresh last row leaves it without labels.

    Raises:
        SpecError: there is no such row or argument, or the rows no longer fit together.
        ValueError: the model was changed by hand, so that its spec does not rebuild it.

    Example:
        >>> five = zoo.edit(zoo.create("resnet20"), "classifier", num_classes=5)
        >>> five(torch.randn(1, 3, 32, 32)).shape
        torch.Size([1, 5])
    """
    model = rebuildable(model, "edit", float32=True)
    names = [r.name for r in model.spec]
    if row not in names:
        raise SpecError(f"{model.spec.name} has no row {row!r}; its rows are {names}.")
    if not changes or not set(changes) <= set(kinds.KINDS[model.spec[row].kind].args):
        raise SpecError(_no_arguments(model.spec, row, changes))
    if row == names[0] and list(changes) == ["in_channels"]:
        return with_channels(model, changes["in_channels"])
    spec = model.spec.edit(row, **changes)
    kept = kinds.state(spec[row]) == kinds.state(model.spec[row])
    if not kept and spec[row].precision != "float32":
        spec = spec.edit(row, precision="float32", emits="float32")
        if row != names[0]:
            spec = spec.edit(names[names.index(row) - 1], emits="float32")
    kinds.check(spec)
    old = model.state_dict()
    for name, learned in learned_edges(model).items():  # the row before has changed, so the edges start here
        old[f"{name}.edges"] = torch.cat([learned[:1], old[f"{name}.edges"][1:]])
    if not kept:
        old |= fresh_rows(spec, [row], old)
    state = {key: old[key] for key in kinds.model_state(spec)}
    edited = copy_metadata(from_state(spec, {key: value.clone() for key, value in state.items()}), model)
    if not kept and row == names[-1]:
        edited.labels = ()
    edited.made = {**model.made, "edited": [*noted(model.made, "edited"), {row: changes}]}
    return edited


@usual_defaults()
def with_channels(model: Model, channels: int) -> Model:
    """A new model for pictures of so many channels; the first layer's weights are adapted as timm does.

    For one channel they are the sum of the old ones, for more those repeated and scaled, so that a grey picture gives
    what it gave in colour. `mean` and `std` of each channel are the means of the old. Raises SpecError for a number
    that cannot be, or where the first row is not float32.
    """
    spec, row = kinds.with_channels(model.spec, channels), model.spec.rows[0]
    if spec == model.spec:
        return model
    if row.precision != "float32":
        raise SpecError(f"Row {row.name!r} is {row.precision}: change the channels of the float32 network, before.")
    kinds.check(spec)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    for key, (_, shape) in kinds.model_state(spec).items():
        if tuple(state[key].shape) != shape:
            state[key] = _other_channels(state[key], channels)
    edited = copy_metadata(from_state(spec, state), model)
    edited.made = {**model.made, "edited": [*noted(model.made, "edited"), {row.name: {"in_channels": channels}}]}
    return edited


@usual_defaults()
def with_size(model: Model, size: tuple[int, int]) -> Model:
    """A new model for pictures of another (height, width). Its weights stay.

    Raises SpecError for a size out of bounds and for a network of something else, ValueError for one with positions.
    """
    if model.spec.pictures.size == size:
        return model
    if kinds.has_grid(model.spec):
        raise ValueError(f"{model.spec.name} has learned positions for pictures of {model.spec.input.brief} pixels.")
    spec = kinds.check(kinds.with_size(model.spec, size))
    state = {key: value.clone() for key, value in model.state_dict().items()}
    edited = copy_metadata(from_state(spec, state), model)
    edited.made = {**model.made, "edited": [*noted(model.made, "edited"), {"input": {"size": list(size)}}]}
    return edited


def without_head(model: Model) -> Model:
    """Remove the head: the result returns the head's input. A network without a head is returned as it is."""
    spec, state = kinds.headless(model.spec), model.state_dict()
    if spec == model.spec:
        return model
    made = copy_metadata(from_state(spec, {key: state[key] for key in kinds.model_state(spec)}), model)
    made.labels = ()
    return made


def _no_arguments(spec: ModelSpec, row: str, changes: Mapping[str, Any]) -> str:
    """What a row has, and where the head is, whose arguments are asked for most."""
    known, head = list(kinds.KINDS[spec[row].kind].args), kinds.head(spec)
    wrong = ", ".join(f"{name}=" for name in changes if name not in known) or "nothing"
    said = f"Row {row!r}, a {spec[row].kind}, has the arguments {', '.join(known)}; edit cannot change {wrong} there."
    theirs = head is not None and head.name != row and set(changes) <= set(kinds.KINDS[head.kind].args)
    return said + (f" The head is row {head.name!r}." if theirs and head is not None and changes else "")


def _other_channels(weight: Tensor, channels: int) -> Tensor:
    """(out, in, height, width) for another number of channels that come in."""
    before = weight.shape[1]
    if channels == 1:
        return weight.sum(1, keepdim=True)
    return weight.repeat(1, -(-channels // before), 1, 1)[:, :channels] * (before / channels)
