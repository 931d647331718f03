"""A training that one process can do, and several: the same rows in the same order."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

import zoo
from zoo import registry
from zoo.inputs import Feature, TableInput
from zoo.parallel.gradients import clip_grad_norm, mean
from zoo.parallel.processes import part

SCHEMA = TableInput(
    (
        Feature("user", num_embeddings=100, hashed=True),
        Feature("genres", "list", num_embeddings=20, max_length=4),
        Feature("device", num_embeddings=3),
        Feature("age", "bucketed", boundaries=(18.0, 25.0, 35.0)),
        Feature("price", "numeric"),
    ),
    crosses=(("device", "age", 9),),
)
STEPS = 20
SIZES = {3: 1, 7: 2, 12: 32}  # rows of a step, where they are not 33: with 1, all processes but the first have none
OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "deepfm": lambda parameters: torch.optim.AdamW(parameters, 0.01, weight_decay=0.1),
    "wide_deep": lambda parameters: torch.optim.Adam(parameters, 0.01),
    "dcnv2": lambda parameters: torch.optim.SGD(parameters, 0.05, momentum=0.9, nesterov=True),
    "finalmlp": lambda parameters: torch.optim.Adagrad(parameters, 0.01),
}
CLIP = 0.5


def network(arch: str) -> Any:
    torch.manual_seed(0)
    crosses = SCHEMA.crosses if arch in ("wide_deep", "deepfm") else ()
    return zoo.build(registry.spec(arch, schema=replace(SCHEMA, crosses=crosses)))


def batch(model: Any, step: int) -> tuple[Tensor, Tensor]:
    """(rows (B, C), labels (B,)) of all processes."""
    draw = torch.Generator().manual_seed(step)
    rows = SIZES.get(step, 33)
    x = torch.stack(
        [
            torch.randint(int(most), (rows,), generator=draw).double()
            if not free
            else torch.randn(rows, generator=draw).double()
            for _, most, free in model._of_columns
        ],
        1,
    )
    return x, torch.randint(2, (rows,), generator=draw).float()


def alone(arch: str, steps: int = STEPS) -> Any:
    """Trained on one process, without anything of zoo.parallel."""
    model = network(arch).train()
    optimizer = OPTIMIZERS[arch](model.parameters())
    for step in range(steps):
        x, y = batch(model, step)
        optimizer.zero_grad()
        F.binary_cross_entropy_with_logits(model(x).squeeze(1), y).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
    return model.eval()


def together(model: Any, optimizer: torch.optim.Optimizer, mesh: Any, steps: range = range(STEPS)) -> None:
    """Train a sharded network on all processes."""
    ddp = DistributedDataParallel(model.train())
    for step in steps:
        x, y = batch(model, step)
        mine, labels = part(x, mesh), part(y, mesh)
        optimizer.zero_grad()
        losses = F.binary_cross_entropy_with_logits(ddp(mine).squeeze(1), labels, reduction="none")
        mean(losses, len(x), mesh).backward()
        clip_grad_norm(model.parameters(), CLIP, mesh)
        optimizer.step()
    model.eval()


def sharded(arch: str, mesh: Any) -> tuple[Any, torch.optim.Optimizer]:
    model = zoo.shard_tables(copy.deepcopy(network(arch)), mesh)
    return model, OPTIMIZERS[arch](model.parameters())


def whole(model: Any) -> dict[str, Tensor]:
    """The state dict with full tables, on every process."""
    return {
        key: value.full_tensor() if hasattr(value, "full_tensor") else value
        for key, value in model.state_dict().items()
    }
