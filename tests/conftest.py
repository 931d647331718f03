"""What every test starts from."""

from __future__ import annotations

import os
from collections.abc import Iterator

os.environ["HF_HUB_OFFLINE"] = "1"  # before huggingface_hub is imported: only tests/hub has a Hub

import pytest
import torch
from hypothesis import settings

# The networks here are tiny: more threads would only wait for each other.
torch.set_num_threads(1)

# The same examples everywhere, and no deadline, for the machine may be busy.
settings.register_profile("zoo", max_examples=60, deadline=None, derandomize=True)
settings.load_profile("zoo")


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    """Random weights and inputs are the same in every run and in every order; no test leaks its own seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield
