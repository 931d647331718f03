"""Bias correction: rounding a weight shifts its output by the error times the mean input, and a bias takes that back.

After Nagel et al., 2019. Behind a ReLU every input is positive, so the errors of many weights add up.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import torch
import torch.nn as nn
from torch import Tensor

from zoo import kinds
from zoo.model.answer import answer
from zoo.model.build import Model
from zoo.passes.data import Batch
from zoo.spec import Block


def input_means(model: Model, rows: Sequence[Block], batches: Sequence[Batch]) -> dict[str, list[float]]:
    """ "row.layer." -> the mean of each input channel of that layer over all batches and positions."""
    watched = copy.deepcopy(model).eval()
    sums: dict[str, Tensor] = {}
    counts: dict[str, int] = {}

    def watch(key: str) -> None:
        def look(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            by_channel = inputs[0].detach().transpose(0, 1 if inputs[0].dim() == 4 else -1).flatten(1)
            sums[key] = sums.get(key, 0.0) + by_channel.sum(1, dtype=torch.float64).cpu()
            counts[key] = counts.get(key, 0) + by_channel.shape[1]

        watched.get_submodule(key.removesuffix(".")).register_forward_pre_hook(look)

    for row in rows:
        for layer in kinds.KINDS[row.kind].layers(kinds.arguments(row)):
            if not layer.table:
                watch(f"{row.name}.{layer.path}")
    with torch.inference_mode():
        for batch in batches:
            answer(watched, batch)
    return {key: (sums[key] / counts[key]).tolist() for key in sums}


def correction(
    weight: Tensor, rounded: Tensor, layer: kinds.Layer, means: Mapping[str, list[float]], key: str
) -> Tensor:
    """What to add to the bias (O,) of a layer whose `weight` (O, C, ...) is now `rounded`; 0 where no mean is known."""
    if key not in means:
        return torch.zeros(len(weight), dtype=torch.float64, device=weight.device)
    error = (weight.double() - rounded.double()).flatten(2).sum(2) if weight.dim() > 2 else weight.double() - rounded
    mean = torch.tensor(means[key], dtype=torch.float64, device=weight.device)
    return error[:, 0] * mean if layer.depthwise else error @ mean
