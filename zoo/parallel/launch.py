"""The strategy of a run: one process, or those that torchrun started, sharing the work in one of several ways."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch.distributed as dist

from zoo.parallel.processes import SECONDS, joined, launched
from zoo.parallel.replicated import Replicated
from zoo.parallel.strategy import Strategy
from zoo.parallel.watch import Watch

KINDS = ("data",)


@contextmanager
def strategy_of(
    parallel: str | None,
    *,
    device: str = "cpu",
    seconds: float = SECONDS,
    sync_batch_norm: bool = False,
) -> Iterator[Strategy]:
    """The strategy for `fit` and `finetune`, inside the group of all processes that torchrun started.

    Args:
        parallel (str | None): "data": each process computes a part of every batch (DistributedDataParallel). None: one
            process does all.
        device (str): "cpu" or "cuda"; with several processes, each takes the GPU of its own number. Default: "cpu".
        seconds (float): how long a process waits for the others before it says which one is missing. Default: 600.0.
        sync_batch_norm (bool): normalise over the batch of all processes, on GPUs. Default: False.

    Yields:
        Strategy: what `zoo.train.loop.fit` and `zoo.train.finetune.finetune` take as `strategy=`.

    Raises:
        ValueError: torchrun started several processes and `parallel` is None, or an option has no effect.
        Lost: another process has failed, hangs, or is gone.

    Example:
        >>> from zoo.parallel.launch import strategy_of
        >>> with strategy_of("data") as strategy:
        ...     strategy.replicas
        1
    """
    given: dict[str, Any] = {"sync_batch_norm": sync_batch_norm}
    if parallel is not None and parallel not in KINDS:
        raise ValueError(f"parallel= is one of {KINDS}, not {parallel!r}.")
    allowed = {"data": ("sync_batch_norm",)}.get(parallel or "", ())
    if idle := [f"{name}=" for name, value in given.items() if value and name not in allowed]:
        raise ValueError(f"{', '.join(idle)}: parallel={parallel!r} does not use it.")
    if parallel is None:
        if launched():
            raise ValueError(
                "Several processes were started, and nothing says how they share the work: give parallel=, such as "
                "data. Without it each would train the whole network, into the same folder."
            )
        yield Strategy()
        return
    with joined(seconds, device.partition(":")[0]) as (mesh, store):
        size, rank = mesh.size(), mesh.get_local_rank()
        watch = Watch(dist.PrefixStore("watch", store), rank, size, seconds)  # type: ignore[attr-defined]
        with watch.watching():
            strategy = Replicated(mesh, watch, synchronised=sync_batch_norm)
            yield strategy
            strategy.close()
