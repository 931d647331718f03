"""Activation checkpointing (Chen et al., 2016): a row stores its input only; the backward pass computes it again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch.nn as nn
from torch import Tensor
from torch.utils.checkpoint import checkpoint


@contextmanager
def recomputed(model: nn.Module) -> Iterator[None]:
    """While open, the children of `model` that hold parameters run under activation checkpointing when training."""
    rows = [row for row in model.children() if any(True for _ in row.parameters())]
    for row in rows:
        row.forward = partial(_checkpointed, row, row.forward)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for row in rows:
            del row.forward


def _checkpointed(row: nn.Module, forward: Callable[..., Tensor], *inputs: Tensor, **context: Any) -> Tensor:
    if not row.training:
        return forward(*inputs, **context)

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _statistics_held(row)

    return checkpoint(partial(forward, **context), *inputs, use_reentrant=False, context_fn=contexts)


@contextmanager
def _statistics_held(row: nn.Module) -> Iterator[None]:
    """While open, batch norm does not update its statistics: the recomputation must not count a batch twice."""
    norms = [m for m in row.modules() if isinstance(m, nn.BatchNorm2d) and m.track_running_stats]
    kept = [(norm.momentum, norm.num_batches_tracked.clone()) for norm in norms]  # type: ignore[operator, union-attr]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, kept, strict=True):
            norm.momentum = momentum
            norm.num_batches_tracked.copy_(count)  # type: ignore[operator, union-attr]
