"""Kills at random steps end in equal checksums: three of them in every run of the tests, twenty nightly."""

from __future__ import annotations

import multiprocessing
import random
import signal
from pathlib import Path

import pytest

from killed_run import STEPS, checksum, train


@pytest.mark.slow
@pytest.mark.multiprocess
@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.nightly)])
def test_killed_runs_end_with_the_weights_of_the_uninterrupted_one(kills: int, tmp_path: Path) -> None:
    context = multiprocessing.get_context("forkserver")  # imports once; no thread of this process goes along
    context.set_forkserver_preload(
        ["killed_run", "timm.optim", "timm.scheduler", "timm.utils", "torchvision.transforms.v2"]
    )

    def run(name: str, kill_at: int, save_seconds: float) -> int | None:
        process = context.Process(target=train, args=(tmp_path / name, kill_at, save_seconds))
        process.start()
        process.join()
        return process.exitcode

    assert run("whole", 0, 1000) == 0
    chance = random.Random(0)
    for number in range(kills):
        name, often = f"cut{number}", chance.choice([0, 0.02, 1000])
        assert run(name, chance.randint(1, STEPS - 1), often) == -signal.SIGKILL
        assert run(name, 0, often) == 0
        assert checksum(tmp_path / name) == checksum(tmp_path / "whole")
