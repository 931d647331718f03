"""What others make of the same network on the same pictures: Torch-Pruning, and torch.nn.utils.prune.

Neither sees labels: where a loss is needed, the network's own answers stand for them.
"""

from __future__ import annotations

import copy

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils import prune

PART = 8  # pictures that run together


def torch_pruning(model: nn.Module, pictures: Tensor, macs: float, importance: str) -> nn.Module:
    """`model` with `macs` of its multiply-accumulates left, by Torch-Pruning (Fang et al., 2023), all layers ranked
    together.

    `importance` is "taylor" (Molchanov et al., 2019) or "hessian" (OBD: LeCun et al., 1989), both of groups.
    """
    import torch_pruning as tp

    model = copy.deepcopy(model).eval().requires_grad_(True)
    example = pictures[:1]
    judge = {"taylor": tp.importance.GroupTaylorImportance, "hessian": tp.importance.GroupHessianImportance}[
        importance
    ]()
    last = [part for part in model.modules() if isinstance(part, nn.Linear)][-1:]
    pruner = tp.pruner.MetaPruner(
        model,
        example,
        importance=judge,
        global_pruning=True,
        pruning_ratio=0.9,
        iterative_steps=200,
        ignored_layers=last,
        round_to=8,
    )
    wanted = macs * tp.utils.count_ops_and_params(model, example)[0]
    answers = _answers(model, pictures)
    for x, y in zip(pictures.split(PART), answers.split(PART), strict=True):
        losses = F.cross_entropy(model(x), y, reduction="none")
        if importance == "taylor":
            (losses.sum() / len(pictures)).backward()
            continue
        for loss in losses:
            model.zero_grad()
            loss.backward(retain_graph=True)
            judge.accumulate_grad(model)
    while tp.utils.count_ops_and_params(model, example)[0] > wanted:
        pruner.step()  # the gradients are narrowed with the weights
    model.zero_grad()
    return model.eval()


def torch_prune(model: nn.Module, sparsity: float) -> nn.Module:
    """`model` with that share of the weights of convolutions and linear layers at zero, the smallest of all."""
    model = copy.deepcopy(model)
    layers = [(part, "weight") for part in model.modules() if isinstance(part, (nn.Conv2d, nn.Linear))]
    prune.global_unstructured(layers, pruning_method=prune.L1Unstructured, amount=sparsity)
    for part, name in layers:
        prune.remove(part, name)
    return model.eval()


def _answers(model: nn.Module, pictures: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.cat([model(part).argmax(1) for part in pictures.split(16)])
