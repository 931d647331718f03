"""How long a step of a plan takes, and how much memory its devices need."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from zoo.planning.costs import Costs, Profile, RowCost
from zoo.planning.cuts import Cuts, spans
from zoo.planning.devices import Link
from zoo.planning.plan import Plan
from zoo.planning.schedules import order
from zoo.planning.simulate import Simulation, Stage, simulate

BUCKET = 25 * 2**20  # bytes of the gradients that DDP sends together: the last ones have no work to hide behind
COPIES = 3  # of the parameters of a row that FSDP gathers: its own, the next one's, its gradients


@dataclass(frozen=True)
class Prediction:
    """What a plan is expected to do.

    Attributes:
        plan (Plan): it.
        seconds (float): of a step.
        bubble (float): the share of the step in which devices of a pipeline wait for each other.
        memory (int): bytes on the fullest device.
        communication (float): seconds of the step that messages between replicas take, where no work hides them.
        fits (bool): whether the memory is within the limit.
        simulation (Simulation): the replay.
    """

    plan: Plan
    seconds: float
    bubble: float
    memory: int
    communication: float
    fits: bool = True
    simulation: Simulation = field(default_factory=lambda: Simulation(0, 0, 0, (), ()), repr=False, compare=False)

    def to_json(self) -> dict[str, Any]:
        names = ("seconds", "bubble", "memory", "communication", "fits")
        return {"plan": self.plan.to_json(), "kind": self.plan.kind, **{name: getattr(self, name) for name in names}}


@dataclass
class Predictor:
    """Predicts plans for one network: its profile, examples of a step, link, and bytes of a device."""

    profile: Profile
    batch: int
    link: Link
    memory: float
    _costs: dict[int, Costs] = field(default_factory=dict)

    def costs(self, microbatch: int) -> Costs:
        if microbatch not in self._costs:
            self._costs[microbatch] = self.profile.at(microbatch)
        return self._costs[microbatch]

    def microbatch(self, plan: Plan) -> int:
        """The examples of the largest microbatch."""
        return -(-self.batch // (plan.data * plan.microbatches))

    def __call__(self, plan: Plan, cuts: Cuts, *, timeline: bool = False) -> Prediction:
        """`cuts` are those of the plan's stages."""
        costs = self.costs(self.microbatch(plan))
        stages, between = list[Stage](), 0.0
        for first, last in spans(cuts, len(costs)):
            stage, exposed = self.stage(plan, costs, first, last)
            stages.append(stage)
            between = max(between, exposed)
        orders = order(plan.schedule, plan.pipeline, plan.microbatches, plan.stages_each)
        found = simulate(orders, stages, self.link, spans=timeline)
        if plan.devices == 1 and plan.microbatches == 1:
            found = replace(found, memory=(self._one_pass(costs),))
        memory = round(max(found.memory))
        waiting = found.bubble * found.passes / found.seconds
        return Prediction(plan, found.seconds, waiting, memory, between, memory <= self.memory, found)

    def stage(self, plan: Plan, costs: Costs, first: int, last: int) -> tuple[Stage, float]:
        """(costs of the rows as a stage, seconds of them in which it waits for other replicas)."""
        profile, link, replicas = self.profile, self.link, plan.data
        rows = costs.rows[first:last]
        tables = costs.total("tables", first, last) if plan.tables else 0.0
        whole = costs.total("parameters", first, last) + costs.copied(first, last) - tables
        forward, weights = costs.total("forward", first, last), costs.total("backward_weight", first, last)
        inputs = costs.total("backward_input", first, last)
        work = max(row.work for row in rows)
        states = profile.states
        shared = whole / replicas if plan.sharded else whole
        held = shared * (2 + states) + tables * (2 + states) / replicas
        between = 0.0
        if tables:  # what follows from the length of the tables, as their gradients do, is shared out too
            fixed, asked = self.costs(0).rows[first:last], costs.total("asked", first, last)
            less = 1 - 1 / replicas
            forward -= less * sum(row.forward for row in fixed if row.tables)
            weights -= less * sum(row.backward_weight for row in fixed if row.tables)
            work = max(row.work - less * one.work * bool(row.tables) for row, one in zip(rows, fixed, strict=True))
            there, back = link.all_to_all(asked, replicas), link.all_to_all(asked, replicas)
            asking = 2 * link.all_to_all(8, replicas)
            forward, weights = forward + there + asking, weights + back
            between += plan.microbatches * (there + back + asking)
        finish = profile.update * (shared + tables / replicas)
        adding = 1.5 * profile.copy * (whole + tables / replicas)  # two are read, one is written
        weights += adding * (plan.microbatches - 1) / plan.microbatches
        if replicas > 1 and plan.sharded:
            forward, weights, later, exposed = self._gathered(plan, rows, whole, forward, inputs, weights)
            between, finish = between + exposed, finish + later
            held += 2 * whole if plan.pipeline > 1 else 0
            work += COPIES * max(row.parameters for row in rows) if plan.pipeline == 1 else 0
        elif replicas > 1:
            exposed = link.exposed(link.all_reduce(whole, replicas), inputs + weights)
            exposed = max(exposed, link.all_reduce(min(whole, BUCKET), replicas))
            finish, between = finish + exposed, between + exposed
            held += whole  # DDP's buckets
        if (copied := costs.copied(first, last)) and plan.pipeline > 1:
            finish += link.all_reduce(copied, 2)  # the gradients of a tied table are added up over both stages
        kept = costs.total("kept", first, last) + (costs.carried[first] if first else 0)
        sent = costs.carried[last] if last < len(costs) else 0.0
        return Stage(forward, inputs, weights, sent, kept, held, work + sent, finish), between

    def _gathered(
        self, plan: Plan, rows: Sequence[RowCost], whole: float, forward: float, inputs: float, weights: float
    ) -> tuple[float, float, float, float]:
        """(forward, backward of weights, later, seconds of all three between replicas) under FSDP2.

        One stage gathers row by row, and lets go, in every microbatch. A stage of several gathers once a step and is
        whole while the microbatches pass.
        """
        link, replicas = self.link, plan.data
        copying = whole * self.profile.copy  # from and to the buffers of messages
        if plan.pipeline == 1:
            gather = sum(link.all_gather(row.parameters, replicas) for row in rows)
            alone = link.all_gather(rows[0].parameters, replicas)  # the first row's have no work to hide behind
            ahead = copying + max(alone, link.exposed(gather, forward))
            back = 2 * copying + max(alone, link.exposed(2 * gather, inputs + weights))
            return forward + ahead, weights + back, 0.0, plan.microbatches * (ahead + back)
        gather = link.all_gather(whole, replicas)
        alone = min(gather, link.all_gather(min(whole, BUCKET), replicas))
        ahead, back = link.exposed(gather, forward), link.exposed(gather, inputs + weights)
        later = max(alone, ahead) + max(alone, back) + 2 * copying
        return forward, weights, later, later

    def _one_pass(self, costs: Costs) -> float:
        """Of one process without microbatches: gradients come as what was kept goes."""
        parameters = costs.total("parameters")
        kept, gradients, most = costs.total("kept"), 0.0, parameters
        for row in reversed(costs.rows):
            most = max(most, kept + gradients + row.work)
            kept -= row.kept
            gradients += row.parameters
        return (1 + self.profile.states) * parameters + most + costs.input
