"""Training on several processes gives the weights of one process over the same shards, stops together and goes on."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from launched import launched
from one_process import PLAIN, SHARDED, UNEVEN, alone, data, network, plain, trained

from short_runs import Cut
from zoo.parallel.launch import strategy_of
from zoo.train.accuracy import accuracy
from zoo.train.sharing import settled

pytestmark = pytest.mark.multiprocess


@pytest.fixture(scope="module")
def two(tmp_path_factory: Any) -> Path:
    """What two processes found."""
    folder: Path = tmp_path_factory.mktemp("two")
    launched(2, ["replicated", "resumed", "sharded", "judged", "refused", "automatic"], folder, "strategies")
    return folder


def read(folder: Path, name: str, count: int = 2) -> list[Any]:
    return [torch.load(folder / f"{name}-{rank}.pt") for rank in range(count)]


def furthest(one: dict[str, Any], other: dict[str, Any]) -> float:
    assert one.keys() == other.keys()
    return max(float((one[key] - other[key]).abs().max()) for key in one if one[key].is_floating_point())


def test_twenty_steps_are_those_of_one_process_over_the_same_shards(two: Path, tmp_path: Path) -> None:
    """Parts of a batch differ in size, pictures change at random, and gradients are clipped."""
    expected = alone(2, tmp_path / "one")
    assert furthest(expected, network().state_dict()) > 0.01
    assert all(furthest(found, expected) < 1e-5 for found in read(two, "data"))
    expected = alone(2, tmp_path / "parts", replace(UNEVEN, accumulate=2, epochs=10, average=0.9, optimizer="sgd"))
    assert all(furthest(found, expected) < 1e-5 for found in read(two, "parts"))


def test_a_stopped_run_goes_on_to_the_bit(two: Path) -> None:
    assert read(two, "interrupted") == ["a signal to another process", "signal 15"]
    assert all(furthest(*pair) == 0 for pair in zip(read(two, "again"), read(two, "data"), strict=True))


def test_another_number_of_processes_goes_on_at_the_right_sample(two: Path, tmp_path: Path) -> None:
    """Of a run whose steps do not depend on the shards, one process does the rest: nothing is random, no batch norm."""
    shutil.copytree(two / "plain stopped", tmp_path / "rest")
    found = trained(None, tmp_path / "rest", PLAIN, plain(), after_step=Cut(0))
    expected = trained(None, tmp_path / "all", PLAIN, plain(), after_step=Cut(0))
    assert read(two, "plain interrupted") == ["a signal to another process", "signal 15"]
    assert furthest(found, expected) < 1e-5 < furthest(found, plain().state_dict())


def test_fully_sharded_training_is_that_of_one_process(two: Path, tmp_path: Path) -> None:
    expected = alone(2, tmp_path / "one", SHARDED)
    assert all(furthest(found, expected) < 1e-5 for found in read(two, "fsdp"))
    assert all(furthest(*pair) == 0 for pair in zip(read(two, "fsdp again"), read(two, "fsdp"), strict=True))
    values = sum(one.numel() for one in network().parameters())
    held = [found["held"] for found in read(two, "fsdp refused")]
    assert sum(held) == values and max(held) < 0.7 * values


def test_sharded_checkpoints_are_read_by_another_number_of_processes(two: Path, tmp_path: Path) -> None:
    """They are whole: nothing else is left in the folder."""
    for name in ("fsdp", "fsdp stopped"):
        found = sorted(one.name for one in (two / name / "checkpoints").iterdir())
        assert len(found) == 2 and all(one.startswith("step-0000000") for one in found)
    shutil.copytree(two / "fsdp moved", tmp_path / "moved")
    with strategy_of("fsdp") as strategy:
        found = trained(strategy, tmp_path / "moved", PLAIN, plain())
    assert furthest(found, trained(None, tmp_path / "all", PLAIN, plain())) < 1e-5
    with pytest.raises(ValueError, match="several processes wrote in parts: go on with the same parallel="):
        trained(None, tmp_path / "moved", PLAIN, plain())


def test_what_sharded_training_does_not_do_is_refused(two: Path) -> None:
    for found in read(two, "fsdp refused"):
        assert "average=: not with parallel=fsdp, but with data" in found["average"]
        assert "sparsity=: not with parallel=fsdp, but with data" in found["sparsity"]
        assert "parallel=fsdp takes the optimizers sgd, adam" in found["optimizer"]
        assert "Process 0 of 2: " in found["data"] and "go on with the same parallel=" in found["data"]


def test_evaluation_counts_every_example_once(two: Path) -> None:
    """One process answers two batches, the other the last one, of five."""
    assert read(two, "accuracy") == [accuracy(network(), data().take(torch.arange(37)))] * 2
    assert read(two, "alone", 1) == [(50.0, 100.0)]


def test_what_one_process_refuses_all_refuse(two: Path) -> None:
    for found in read(two, "refused"):
        assert found["recipe"].startswith("ValueError: Process 1 of 2 has another run than process 0: it differs in re")
        assert "1 examples are too few for 2" in found["few"]
        assert "sync_batch_norm= is for GPUs" in found["sync"]
        assert found["diverged"].startswith("Diverged: The loss is nan at step 1: the pictures themselves are not fin")


def test_one_process_is_as_ever(tmp_path: Path) -> None:
    with strategy_of("data") as strategy:
        found = trained(strategy, tmp_path / "data")
    assert furthest(found, trained(None, tmp_path / "none")) == 0


def test_the_planner_chooses_a_way_that_can_be(two: Path, tmp_path: Path) -> None:
    for auto, explicit in zip(read(two, "auto"), read(two, "explicit"), strict=True):
        assert furthest(auto, explicit) == 0 < furthest(auto, plain().state_dict())
    first, second = read(two, "chosen")
    assert first == second, "all processes have one plan"
    assert re.fullmatch(r"Plan: .* a step predicted.*\.", first["notice"])
    assert first["before"] == first["notice"].partition(",")[0].replace("Plan:", "Plan, as before:") + "."
    told = "Plan: pipeline of 2 stages (1f1b, 4 microbatches), 1 s a step predicted; the runner-up, fsdp, 1.1 s a step."
    assert first["pipeline"] == ("pipeline", f"{told} One process would be as fast: 1.02 s a step.")
    assert first["teacher"][0] == first["freeze"][0] == "fsdp"
    assert first["average"][0] == first["sparsity"][0] == "data"
    assert first["average"][1].endswith("No other way trains this: average=: not with parallel=fsdp, but with data.")
    assert first["tables"][0] == "data" and "Shared tables (zoo.shard_tables), which only" in first["tables"][1]
    assert (first["of data"][0], first["of parts"][0]) == ("data", "fsdp"), "a run goes on from its checkpoints"
    with strategy_of("auto") as strategy:
        made = settled(strategy, plain(), data(), PLAIN, tmp_path)
        assert made.name == "data" and made.notice == "Plan: one process, as torchrun has started no others."
    idle: Any
    for idle in ({"stages": 2}, {"pipeline_schedule": "gpipe"}, {"microbatches": 2}):
        told = f"{next(iter(idle))}=: for parallel=pipeline alone"
        with pytest.raises(ValueError, match=told), strategy_of("auto", **idle):
            pass
