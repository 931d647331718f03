"""Pipelines compute the gradients of one process, with every schedule, wherever they are cut."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from launched import launched
from one_process import PLAIN, plain, trained
from pipelines import NETWORKS, alone, network
from torch import Tensor

from zoo import kinds, registry
from zoo.parallel.launch import strategy_of
from zoo.parallel.pipeline import SCHEDULES
from zoo.parallel.stages import cut, even_cuts

pytestmark = pytest.mark.multiprocess


@pytest.fixture(scope="module")
def two(tmp_path_factory: Any) -> Path:
    """What two processes found."""
    folder: Path = tmp_path_factory.mktemp("two")
    launched(2, ["all_networks", "cuts", "runs"], folder, "pipelines")
    return folder


@cache
def expected(name: str) -> dict[str, Tensor]:
    return alone(network(name))


def check(found: list[Any], name: str) -> None:
    """Every gradient, wherever it is, is that of one process; and clipping knows the norm of all."""
    wanted, seen = expected(name), set[str]()
    largest = max(float(one.abs().max()) for one in wanted.values())
    for gradients, _, _ in found:
        seen |= gradients.keys()
        for key, one in gradients.items():
            assert float((one - wanted[key]).abs().max()) <= 1e-6 * largest, key
    assert seen == wanted.keys()
    assert len({loss for _, loss, _ in found}) == 1
    assert sum(square for _, _, square in found) == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_are_those_of_one_process(two: Path, name: str) -> None:
    files = sorted(two.glob(f"{name}-*-0.pt"))
    names = {one.name.removeprefix(f"{name}-").removesuffix("-0.pt") for one in files}
    assert names >= (set(SCHEDULES) if name in ("resnet20", "gpt2_tiny") else {"1f1b"})
    assert len(names) == {"lraspp": 4, "deepfm": 8}.get(name, len(names)), "cuts of their own"
    for file in files:
        check([torch.load(file.with_name(file.name.replace("-0.pt", f"-{rank}.pt"))) for rank in range(2)], name)


def test_a_run_is_that_of_one_process(two: Path, tmp_path: Path) -> None:
    wanted = trained(None, tmp_path / "one", replace(PLAIN, batch_size=8), plain())
    for rank in range(2):
        found = torch.load(two / f"pipeline-{rank}.pt")
        assert max(float((found[key] - wanted[key]).abs().max()) for key in wanted) < 1e-5


def test_what_cannot_be_is_refused(two: Path) -> None:
    found = torch.load(two / "pipeline refused-1.pt")
    assert "batch_size=8 is not 1 x microbatches x examples: with 3 microbatches" in found["microbatches"]
    assert "2 processes cannot hold 3 stages" in found["few"] and "--nproc-per-node 3" in found["few"]
    assert "cannot begin at 'nothing'; it can at one of ['h0'," in found["row"]
    assert "freeze=: not with parallel=pipeline" in found["freeze"]
    with (
        pytest.raises(ValueError, match=r"1 process cannot hold 1 stages.*torchrun --nproc-per-node 2"),
        strategy_of("pipeline"),
    ):
        pass
    with pytest.raises(ValueError, match=r"stages=: for parallel=pipeline alone"), strategy_of("data", stages=2):
        pass


@pytest.mark.parametrize("name", ["resnet56", "mobilenetv2_100", "gpt2_tiny", "marian_tiny", "deeplabv3plus"])
def test_even_cuts_share_the_work(name: str) -> None:
    spec = registry.spec(name)
    macs = {row.name: cost.macs for row, cost in zip(spec, kinds.row_costs(spec), strict=True)}
    for count in (1, 2, 4):
        parts = cut(spec, even_cuts(spec, count))
        assert [row for part in parts for row in part.rows] == list(spec.rows) and len(parts) == count
        most = max(sum(macs[row.name] for row in part.rows) for part in parts)
        assert most <= sum(macs.values()) / count + max(macs.values())
    assert [len(part.rows) for part in cut(spec, even_cuts(spec, len(spec.rows)))] == [1] * len(spec.rows)
