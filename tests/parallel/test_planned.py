"""Which plans become which strategies."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, cast

import pytest

from zoo.parallel.auto import forecast
from zoo.parallel.pipeline import Pipelined
from zoo.parallel.planned import runs, strategy_for
from zoo.planning.candidates import Predictor
from zoo.planning.costs import Costs, Profile, RowCost
from zoo.planning.devices import Link
from zoo.planning.plan import Plan

TWO, FOUR = ((("a", "b"), ("c",)), (("a",), ("b",), ("c",), ("d",)))


@dataclass
class Mesh:
    """As much of a mesh as a strategy asks for before it trains."""

    count: int
    device_type: str = "cpu"

    def size(self) -> int:
        return self.count

    def get_local_rank(self) -> int:
        return self.count - 1


def made(plan: Plan) -> Any:
    return strategy_for(plan, cast(Any, Mesh(plan.devices)))


def test_a_plan_becomes_its_strategy() -> None:
    assert (made(Plan(data=4)).name, made(Plan(data=4)).replicas) == ("data", 4)
    assert made(Plan(data=4, sharded=True)).name == "fsdp"
    assert made(Plan()).name == "data" and made(Plan()).replicas == 1
    line = made(Plan(stages=TWO, schedule="gpipe", microbatches=8))
    assert isinstance(line, Pipelined)
    assert (line.starts, line.schedule, line.microbatches, line.replicas) == (("c",), "gpipe", 8, 1)
    grid = made(Plan(data=3, stages=TWO, microbatches=2))
    assert (grid.starts, grid.schedule, grid.replicas, grid.replica, grid.count) == (("c",), "1f1b", 3, 2, 2)
    looped = made(Plan(stages=FOUR, schedule="interleaved", microbatches=4, stages_each=2))
    assert (looped.starts, looped.replicas, looped.count) == (("b", "c", "d"), 1, 4)


@pytest.mark.parametrize(
    "plan",
    [
        Plan(data=2, tables=True),
        Plan(data=2, stages=TWO, microbatches=2, sharded=True),
        Plan(data=2, microbatches=2),
        Plan(stages=FOUR, schedule="interleaved", microbatches=2, stages_each=2),
        Plan(stages=FOUR, schedule="interleaved", microbatches=2, stages_each=4),
        Plan(stages=TWO, schedule="zero_bubble", microbatches=2),
    ],
    ids=lambda plan: plan.words,
)
def test_what_no_engine_has_is_not_chosen(plan: Plan) -> None:
    assert not runs(plan)
    with pytest.raises(ValueError, match="processes do not run this plan"):
        made(plan)


def test_all_processes_are_used_by_plans_that_run() -> None:
    rows = tuple(RowCost(f"r{at}", 0.03, 0.03, 0.03, 1e6, 1e5, 1e4, 1e6, 1e6 * (at == 0), 100) for at in range(8))
    costs = Costs(rows, 16, tuple((at - 1,) for at in range(8)), (-1,) * 8, 1e3)
    profile = Profile("net", (costs,), 1e-9, 2, True, "a toy")
    for link in (Link(1e4, 1e-3, 0.0), Link(1e12, 1e-9, 0.0)):
        found = forecast(Predictor(profile, 64, link, float("inf")), 4)
        assert {one.plan.devices for one in found.ranked} == {4}
        assert {one.plan.kind for one in found.ranked} == {"data", "fsdp", "tables", "pipeline", "pipeline x data"}
        assert all(runs(replace(one.plan, tables=False)) for one in found.ranked)
        slow = link.bandwidth < 1e6
        assert found.alone is not None and (found.alone.seconds < found.ranked[0].seconds) == slow
