"""How much each channel matters. Higher is more; a score is comparable within its group, and, normalised, across."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor

from zoo import kinds, tasks
from zoo.model.answer import answer
from zoo.model.build import Model
from zoo.passes import CRITERIA
from zoo.passes.data import as_labelled_batches
from zoo.passes.groups import Group, Node


def scores(model: Model, groups: list[Group], criterion: str, data: Any = None) -> dict[str, Tensor]:
    """Group name -> one score a channel, float64 (size,).

    l1, l2: norm of the weights that make the channel (Li et al., 2017). bn_scale: size of the batch-norm factor (Liu et
    al., 2017). taylor: squared first-order change of the loss when the channel goes, at its batch norm (Molchanov et
    al., 2019); needs labelled `data`. All but taylor are divided by their group's mean, so that groups compare; a group
    without batch norm counts as average under bn_scale.
    """
    if criterion not in CRITERIA:
        raise ValueError(f"Unknown importance {criterion!r}; choose one of {CRITERIA}.")
    state = dict(model.state_dict())
    gradients = _gradients(model, data) if criterion == "taylor" else {}
    result = {}
    for group in groups:
        parts = [
            _normal(part[start : start + group.size], criterion)
            for node, start in zip(group.members, group.starts, strict=True)
            for part in _parts(model, node, criterion, state, gradients)
        ]
        total = torch.stack(parts).sum(0) if parts else torch.ones(group.size, dtype=torch.float64)
        result[group.name] = (total if criterion == "taylor" else total / total.mean().clamp_min(1e-30)).cpu()
    if not all(score.isfinite().all() for score in result.values()):
        raise ValueError(
            f"The {criterion} importance is not finite: look for NaN or infinity in the weights and the data."
        )
    if criterion == "taylor" and not any(score.any() for score in result.values()):
        raise ValueError("The loss does not change with any channel: Taylor importance has nothing to go by.")
    return result


def _parts(
    model: Model, node: Node, criterion: str, state: dict[str, Tensor], gradients: dict[str, Tensor]
) -> list[Tensor]:
    """The contributions of the layers that write into the node's channels."""
    row_name, space = node
    row = model.spec[row_name] if row_name != "input" else None
    if row is None:
        return []
    parts = []
    layers = kinds.KINDS[row.kind].layers(kinds.arguments(row))
    for layer in layers:
        if layer.target != space:
            continue
        prefix = f"{row_name}.{layer.path}"
        if criterion in ("l1", "l2"):
            weight = state[f"{prefix}conv.weight" if layer.norm else f"{prefix}weight"].double().flatten(1)
            sums = weight.abs().sum(1) if criterion == "l1" else weight.square().sum(1)
            sums = _by_channel(sums, layer.target_parts)
            parts.append(sums if criterion == "l1" else sums.sqrt())
        elif criterion == "bn_scale":
            if layer.norm:
                parts.append(state[f"{prefix}bn.weight"].double().abs())
        else:
            keys = ("bn.weight", "bn.bias") if layer.norm else ("weight", "bias")
            reader = next((one for one in layers if one.source == space and one.linear), None)
            if reader is not None:  # what is lost with a channel is what its reader makes of it
                key = f"{row_name}.{reader.path}weight"
                change = (state[key] * gradients[key]).double().sum(0)
                parts.append(_by_channel(change, reader.source_parts).square())
                break
            changes = [(state[prefix + k] * gradients[prefix + k]).double() for k in keys]
            parts.append(torch.stack([c.reshape(len(c), -1).sum(1) for c in changes]).sum(0).square())
    return parts


def _normal(part: Tensor, criterion: str) -> Tensor:
    """Norms of weights as shares of their mean, so that layers compare."""
    return part / part.mean().clamp_min(1e-30) if criterion in ("l1", "l2") else part


def _by_channel(values: Tensor, parts: tuple[int, ...]) -> Tensor:
    """One value for each entry of an axis to their sum for each channel (`kinds.Axis`)."""
    size = len(values) // sum(parts)
    return torch.stack([one.view(size, -1).sum(1) for one in values.split([size * n for n in parts])]).sum(0)


def _loss(model: Model, outputs: Tensor, targets: Tensor) -> Tensor:
    """Of the network's task; raises ValueError for a network without a head."""
    task = tasks.of(model.spec)
    if not (task.loss and kinds.head(model.spec)):
        raise ValueError(f'{model.spec.name} has no classes to go wrong in: use importance="l2", or give it a head.')
    if outputs.dim() == 2 and not targets.is_floating_point():
        low, high = int(targets.min()), int(targets.max())
        last = 1 if task.binary else outputs.shape[1] - 1
        if low < 0 or high > last:
            raise ValueError(f"Labels are 0 to {last}, not {low} to {high}.")
    return task.fetch("loss")(outputs, targets)  # type: ignore[no-any-return]


def _gradients(model: Model, data: Any) -> dict[str, Tensor]:
    if data is None:
        raise ValueError("Taylor importance needs data=: labelled examples, as (inputs, labels).")
    batches = as_labelled_batches(data, "Taylor importance needs labelled examples", model)
    model = copy.deepcopy(model).eval().requires_grad_(True)
    parameters = dict(model.named_parameters())
    totals = {name: torch.zeros_like(p) for name, p in parameters.items()}
    with torch.enable_grad():
        for inputs, labels in batches:
            loss = _loss(model, answer(model, inputs), labels)
            for name, gradient in zip(parameters, torch.autograd.grad(loss, list(parameters.values())), strict=True):
                totals[name] += gradient / len(batches)
    return totals
