"""What a step on several processes needs: the mean over the rows of all, and the norm of all gradients."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor


def mean(losses: Tensor, total: int, mesh: DeviceMesh) -> Tensor:
    """The part of this process in the mean loss of the `total` rows of all processes, to be differentiated.

    `losses` (B,) are of its own rows, of which there may be any number, none too. Gradients are averaged over the
    processes afterwards, so the mean of all processes' parts is the mean of all rows.
    """
    return losses.sum() * (mesh.size() / total)


def clip_grad_norm(parameters: Iterable[Tensor], most: float, mesh: DeviceMesh) -> float:
    """Scale all gradients down where their norm, that of all shards together, is above `most`; returns the norm."""
    gradients = [one.grad for one in parameters if one.grad is not None]
    shards = [one.to_local() for one in gradients if isinstance(one, DTensor)]
    whole = [one for one in gradients if not isinstance(one, DTensor)]
    squares = _squares(shards)
    dist.all_reduce(squares, group=mesh.get_group())
    norm = (squares + _squares(whole)).sqrt()
    scale = (most / (norm + 1e-6)).clamp(max=1.0)  # as torch.nn.utils.clip_grad_norm_ does
    for one in (*shards, *whole):
        one.mul_(scale.to(one.dtype))
    return float(norm)


def _squares(tensors: Iterable[Any]) -> Tensor:
    norms = [torch.linalg.vector_norm(one) for one in tensors]
    return torch.stack(norms).double().square().sum() if norms else torch.zeros((), dtype=torch.float64)
