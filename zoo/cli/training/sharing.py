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
    parallel: Literal["data"] | None = option(
        None,
        "How the processes that torchrun started share the work. data: each computes a part of every batch.",
    )
    sync_batch_norm: bool = option(False, "Normalise over the batch of all processes, on GPUs.")
    wait: float = option(
        SECONDS, above=0, help="Seconds that a process waits for the others, before it says which one is missing."
    )

    def strategy(self, device: str) -> AbstractContextManager[Strategy]:
        """The strategy of the run, open."""
        return strategy_of(self.parallel, device=device, seconds=self.wait, sync_batch_norm=self.sync_batch_norm)
