"""The options of a training on several processes, and the strategy that they name."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal

from zoo.parallel.launch import strategy_of
from zoo.parallel.processes import SECONDS
from zoo.parallel.strategy import Strategy
from zoo.passes.options import Options, option


@dataclass(frozen=True, kw_only=True)
class Sharing(Options):
    parallel: Literal["data", "fsdp", "pipeline", "auto"] | None = option(
        None,
        "How the processes that torchrun started share the work. data: each computes a part of every batch. fsdp: each "
        "also holds a part of every weight. pipeline: each holds some rows of the network. auto: the quickest of "
        "these, by what `zoo plan` measures.",
    )
    stages: str | None = option(
        None, "Stages of a pipeline: how many, or the rows at which the second and later ones begin, as s2_1,s3_1."
    )
    pipeline_schedule: Literal["gpipe", "1f1b", "interleaved", "zero_bubble"] | None = option(
        None, "The order of the work of a pipeline. Default: 1f1b."
    )
    microbatches: int | None = option(
        None, "Parts that each batch goes through a pipeline in. Default: up to four for each process.", least=1
    )
    sync_batch_norm: bool = option(False, "Normalise over the batch of all processes, with data on GPUs.")
    wait: float = option(
        SECONDS, above=0, help="Seconds that a process waits for the others, before it says which one is missing."
    )

    def strategy(self, device: str) -> AbstractContextManager[Strategy]:
        """The strategy of the run, open."""
        return strategy_of(
            self.parallel,
            device=device,
            seconds=self.wait,
            sync_batch_norm=self.sync_batch_norm,
            stages=self.stages,
            pipeline_schedule=self.pipeline_schedule,
            microbatches=self.microbatches,
        )
