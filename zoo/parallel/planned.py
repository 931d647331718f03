"""A plan as a strategy: which plans the engines run, and the strategy that runs one."""

from __future__ import annotations

from torch.distributed.device_mesh import DeviceMesh

from zoo.parallel.pipeline import SCHEDULES, Pipelined
from zoo.parallel.replicated import Replicated, Shared
from zoo.parallel.sharded import FullySharded
from zoo.parallel.watch import Watch
from zoo.planning.plan import Plan


def runs(plan: Plan) -> bool:
    """Whether an engine computes in this way; it may still refuse a network or an option.

    zero_bubble is not among them: the planner has ZB-H1, with one stage a device, and the engine ZB-V, with two.
    """
    if plan.pipeline == 1:
        return plan.microbatches == 1 and not plan.tables
    enough = plan.schedule == "gpipe" or plan.microbatches >= len(plan.stages)
    return enough and not plan.sharded and plan.stages_each == SCHEDULES[plan.schedule][1]


def strategy_for(plan: Plan, mesh: DeviceMesh, watch: Watch | None = None) -> Shared:
    """The strategy of a plan that uses all processes of the mesh. Raises ValueError for one that no engine runs."""
    if not runs(plan) or plan.devices != mesh.size():
        raise ValueError(f"{mesh.size()} processes do not run this plan: {plan.words}.")
    if plan.pipeline > 1:
        starts = [rows[0] for rows in plan.stages[1:]]
        return Pipelined(mesh, watch, stages=starts, schedule=plan.schedule, microbatches=plan.microbatches)
    return FullySharded(mesh, watch) if plan.sharded else Replicated(mesh, watch)
