"""What every test starts from."""

from __future__ import annotations

import os
from collections.abc import Iterator

os.environ["HF_HUB_OFFLINE"] = "1"  # before huggingface_hub is imported: only tests/hub has a Hub
os.environ["OMP_NUM_THREADS"] = "1"  # of the processes that tests start, as here: see below

import pytest
import torch
from hypothesis import settings

import processors

# The networks here are tiny: more threads would only wait for each other.
torch.set_num_threads(1)

# The same examples everywhere, and no deadline, for the machine may be busy.
settings.register_profile("zoo", max_examples=60, deadline=None, derandomize=True)
settings.load_profile("zoo")

processors.switch()


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
def seeded() -> Iterator[None]:
    """Random weights and inputs are the same in every run and in every order; no test leaks its own seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield
