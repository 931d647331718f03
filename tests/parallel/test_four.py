"""Four processes give what one gives on the same shards or microbatches, however they share the work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sharded_training
import torch
from four import GRIDS, SHARED, SHORT, STEPS
from launched import launched
from one_process import alone, network
from test_pipeline import check
from test_strategies import furthest, read

pytestmark = pytest.mark.multiprocess


@pytest.fixture(scope="module")
def four(tmp_path_factory: Any) -> Path:
    """What four processes found."""
    folder: Path = tmp_path_factory.mktemp("four")
    launched(4, ["every_way"], folder, "four")
    return folder


@pytest.mark.parametrize("way", ["data", "fsdp"])
def test_steps_are_those_of_one_process(four: Path, way: str, tmp_path: Path) -> None:
    expected = alone(4, tmp_path, SHORT if way == "data" else SHARED)
    assert furthest(expected, network().state_dict()) > 0.01
    assert all(furthest(found, expected) < 1e-5 for found in read(four, way, 4))


def test_four_stages_have_the_gradients_of_one_process(four: Path) -> None:
    check(read(four, "line-gpt2_tiny", 4), "gpt2_tiny")


@pytest.mark.parametrize("name", GRIDS)
def test_two_pipelines_of_two_stages_have_the_gradients_of_one_process(four: Path, name: str) -> None:
    found = read(four, f"grid-{name}", 4)
    for line in (found[:2], found[2:]):
        check(line, name)


def test_shared_tables_are_those_of_one_process(four: Path) -> None:
    expected = sharded_training.alone("deepfm", STEPS).state_dict()
    assert furthest(expected, sharded_training.network("deepfm").state_dict()) > 0.01
    for found in read(four, "tables", 4):
        assert all(torch.allclose(found[key], value, rtol=0, atol=1e-5) for key, value in expected.items())
