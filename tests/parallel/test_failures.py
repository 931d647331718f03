"""What happens where a process of a run is killed, fails or hangs, under torchrun."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytestmark = [pytest.mark.multiprocess, pytest.mark.nightly]

KILLS = 10


def launched(folder: Path, parallel: str, what: str, step: int, restarts: int = 0) -> subprocess.CompletedProcess[str]:
    folder.mkdir()
    program = str(Path(__file__).with_name("elastic_run.py"))
    options = ["--standalone", "--nproc-per-node", "2", "--max-restarts", str(restarts)]
    return subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", *options, program, str(folder), parallel, what, str(step)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=400,
    )


@pytest.mark.parametrize("parallel", ["data", "fsdp", "pipeline"])
def test_a_killed_run_ends_with_the_weights_of_an_uninterrupted_one(parallel: str, tmp_path: Path) -> None:
    done = launched(tmp_path / "whole", parallel, "none", 0)
    assert done.returncode == 0, done.stderr
    expected = torch.load(tmp_path / "whole" / "end-0.pt")
    for number, step in enumerate(random.Random(parallel).sample(range(1, 25), KILLS)):
        folder = tmp_path / str(number)
        done = launched(folder, parallel, "kill", step, restarts=2)
        assert done.returncode == 0 and (folder / "kill").exists(), done.stderr
        for rank in range(2):
            found = torch.load(folder / f"end-{rank}.pt")
            assert all(torch.equal(found[key], value) for key, value in expected.items()), step


def by_hand(folder: Path, parallel: str, what: str) -> str:
    """What the first of two processes says, started as Slurm does: nobody ends it where the other one fails."""
    folder.mkdir()
    program = str(Path(__file__).with_name("elastic_run.py"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    common |= {"TORCHELASTIC_RESTART_COUNT": "0", "PYTHONPATH": os.pathsep.join(sys.path)}
    both = [
        subprocess.Popen(
            [sys.executable, program, str(folder), parallel, what, "3"],
            env={**os.environ, **common, "RANK": str(rank)},
            stderr=subprocess.DEVNULL,
        )
        for rank in range(2)
    ]
    try:
        assert both[0].wait(timeout=200) == 3
    finally:
        for one in both:
            one.kill()
            one.wait()
    return (folder / "lost-0.txt").read_text()


@pytest.mark.parametrize("parallel", ["data", "fsdp", "pipeline"])
def test_the_others_say_who_has_failed_and_why(parallel: str, tmp_path: Path) -> None:
    told = by_hand(tmp_path / "run", parallel, "fail")
    assert told.startswith("Process 1 of 2 has failed at ") and "of step 3: No room for one more." in told, told


@pytest.mark.parametrize("parallel", ["data", "pipeline"])
def test_the_others_say_who_hangs_within_the_stated_time(parallel: str, tmp_path: Path) -> None:
    told = by_hand(tmp_path / "run", parallel, "hang")
    assert told.startswith("Process 1 of 2 hangs at ") and "waited 8 seconds" in told, told


def test_the_others_say_who_is_gone(tmp_path: Path) -> None:
    assert by_hand(tmp_path / "run", "data", "kill").startswith("Process 1 of 2 is gone or stopped: no sign of life")
