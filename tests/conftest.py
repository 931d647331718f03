"""What every test starts from."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"  # before huggingface_hub is imported: only tests/hub has a Hub
os.environ["OMP_NUM_THREADS"] = "1"  # of the processes that tests start, as here: see below

from functools import cache

import pytest
import torch
import typer.main
import typer.testing
from hypothesis import settings

import exported_once
import processors
from zoo.passes import PASSES
from zoo.report import timing

# The networks here are tiny: more threads would only wait for each other.
torch.set_num_threads(1)

# The same examples everywhere, and no deadline, for the machine may be busy.
settings.register_profile("zoo", max_examples=60, deadline=None, derandomize=True)
settings.load_profile("zoo")

processors.switch()


@cache
def _command(app: typer.Typer, passes: tuple[str, ...]) -> object:
    return typer.main.get_command(app)


# A shell makes the command once in a process, and so do the tests, but where a pass from outside brings options.
typer.testing._get_command = lambda app: _command(app, tuple(PASSES))  # type: ignore[attr-defined]


@pytest.fixture(params=processors.KINDS)
def processor(request: pytest.FixtureRequest) -> Iterator[str]:
    """The test runs as on each kind of processor, whichever this host's is."""
    with processors.running_as(request.param):
        yield request.param


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is marked "nightly", unless `-m` names it, and what times an emulated processor."""
    if processors.emulated():
        skip = pytest.mark.skip(reason="this processor is emulated: its speed says nothing")
        for item in items:
            if item.get_closest_marker("timing"):
                item.add_marker(skip)
    if "nightly" in config.option.markexpr:
        return
    kept = [item for item in items if not item.get_closest_marker("nightly")]
    config.hook.pytest_deselected(items=[item for item in items if item.get_closest_marker("nightly")])
    items[:] = kept


@pytest.fixture(autouse=True)
def untimed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What measures seconds takes one turn, but in tests of the seconds themselves."""
    if request.node.get_closest_marker("timing"):
        return
    real = timing.median_times

    def once(models: Any, inputs: Any, *, seconds: float, rounds: tuple[int, int] = (1, 1)) -> Any:
        return real(models, inputs, seconds=0, rounds=rounds)

    for module in ("zoo.report.timing", "zoo.runtime.choose"):
        monkeypatch.setattr(f"{module}.median_times", once)


@pytest.fixture(autouse=True)
def exported_once_in_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    exported_once.use(monkeypatch)


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    """Random weights and inputs are the same in every run and in every order; no test leaks its own seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield
