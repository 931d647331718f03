"""The strategy of a run: one process, or those that torchrun started, sharing the work in one of several ways."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch.distributed as dist

from zoo.parallel.processes import SECONDS, joined, launched
from zoo.parallel.replicated import Replicated, Shared
from zoo.parallel.strategy import Strategy
from zoo.parallel.watch import Watch

OPTIONS: dict[str | None, tuple[str, ...]] = {  # of each way to share the work, the options that it uses
    None: (),
    "data": ("sync_batch_norm",),
    "fsdp": (),
    "pipeline": ("stages", "pipeline_schedule", "microbatches"),
    "auto": (),
}


@contextmanager
def strategy_of(
    parallel: str | None,
    *,
    device: str = "cpu",
    seconds: float = SECONDS,
    sync_batch_norm: bool = False,
    stages: str | int | None = None,
    pipeline_schedule: str | None = None,
    microbatches: int | None = None,
) -> Iterator[Strategy]:
    """The strategy for `fit` and `finetune`, inside the group of all processes that torchrun started.

    Args:
        parallel (str | None): "data": each process computes a part of every batch (DistributedDataParallel). "fsdp":
            each also holds only a part of every weight (FSDP2). "pipeline": each holds some rows, and microbatches go
            through them; with more processes than stages, data parallel too. "auto": the quickest of them, by the
            planner, when the training begins. None: one process does all.
        device (str): "cpu" or "cuda"; with several processes, each takes the GPU of its own number. Default: "cpu".
        seconds (float): how long a process waits for the others before it says which one is missing. Default: 600.0.
        sync_batch_norm (bool): normalise over the batch of all processes, on GPUs. Default: False.
        stages (str | int | None): of a pipeline: how many, or the rows at which all but the first begin, separated by
            commas. Default: None, as many as the processes hold.
        pipeline_schedule (str | None): of a pipeline: "gpipe", "1f1b", "interleaved" or "zero_bubble". Default: None,
            "1f1b".
        microbatches (int | None): of a pipeline: the parts that each batch goes through it in. Default: None, up to
            four for each process.

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
    pipeline: dict[str, Any] = {"stages": stages, "pipeline_schedule": pipeline_schedule, "microbatches": microbatches}
    if parallel not in OPTIONS:
        raise ValueError(f"parallel= is one of {', '.join(filter(None, OPTIONS))}, not {parallel!r}.")
    given = {"sync_batch_norm": sync_batch_norm, **pipeline}
    if idle := [f"{name}=" for name, value in given.items() if value and name not in OPTIONS[parallel]]:
        used = next(f"parallel={kind}" for kind, names in OPTIONS.items() if idle[0][:-1] in names)
        raise ValueError(f"{', '.join(idle)}: for {used} alone.")
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
            strategy = _made(parallel, mesh, watch, sync_batch_norm, {k: v for k, v in pipeline.items() if v})
            yield strategy
            strategy.close()


def _made(parallel: str, mesh: Any, watch: Watch, sync_batch_norm: bool, pipeline: dict[str, Any]) -> Shared:
    if parallel == "auto":
        from zoo.parallel.auto import Auto

        return Auto(mesh, watch)
    if parallel == "data":
        return Replicated(mesh, watch, synchronised=sync_batch_norm)
    if parallel == "fsdp":
        from zoo.parallel.sharded import FullySharded

        return FullySharded(mesh, watch)
    from zoo.parallel.pipeline import Pipelined  # torch's pipelines take a second to import

    return Pipelined(mesh, watch, **{name.removeprefix("pipeline_"): value for name, value in pipeline.items()})
