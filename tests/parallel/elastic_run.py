"""A small training for torchrun, in which a process is killed, fails or hangs at its first attempt.

torchrun --standalone --nproc-per-node 2 elastic_run.py FOLDER data|fsdp|pipeline kill|fail|hang|none STEP
"""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from one_process import PLAIN, plain, trained

from zoo.parallel.launch import strategy_of
from zoo.parallel.watch import Lost

WAIT = {"hang": 8.0}  # seconds; of other mishaps the others hear at once, and a busy machine starts slowly


class Mishap:
    """Does to the last process what the command says, behind a step of the first attempt."""

    def __init__(self, what: str, at: int, rank: int, folder: Path) -> None:
        mine = rank == int(os.environ["WORLD_SIZE"]) - 1 and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0"
        self.what, self.at, self.folder = what if mine else "none", at, folder

    def step(self, done: int, total: int) -> None:
        if done != self.at or self.what == "none":
            return
        (self.folder / self.what).touch()
        if self.what == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.what == "hang":
            time.sleep(600)
        raise ValueError("No room for one more.")

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


def main(folder: Path, parallel: str, what: str, step: int) -> None:
    rank = int(os.environ["RANK"])
    recipe = replace(PLAIN, batch_size=8)  # 25 steps
    try:
        with strategy_of(parallel, seconds=WAIT.get(what, 90.0)) as strategy:
            mishap = Mishap(what, step, rank, folder)
            found = trained(strategy, folder / "run", recipe, plain(), after_step=mishap, save_seconds=0)
        torch.save(found, folder / f"end-{rank}.pt")
    except Lost as error:
        (folder / f"lost-{rank}.txt").write_text(str(error))
        os._exit(3)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4]))
