"""Finds the quickest plan of each kind: all plans that could be, the likeliest first, each replayed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from zoo.planning.candidates import Prediction, Predictor
from zoo.planning.costs import Costs
from zoo.planning.cuts import Cuts, best, even, spans
from zoo.planning.plan import Plan
from zoo.planning.schedules import LOOPED, SCHEDULES, misfit

SAME = 0.03  # predictions are no closer
MOST_ACTIONS = 200_000  # of one replay
_ROUNDS = (1, 2, 4, 8, 16)  # microbatches for each device of a pipeline
_PARTS = 64  # most microbatches of one device
_EACH = {"interleaved": (2, 4), "zero_bubble": (1,)}


@dataclass
class Search:
    """The plans for so many devices; `predict` knows the network, the batch and the link.

    A plan may use fewer devices, unless `every` one is to be used. `allowed` says which are looked
    at; their stages are numbered.
    """

    predict: Predictor
    devices: int
    every: bool = False
    allowed: Callable[[Plan], bool] = lambda plan: True
    _cuts: dict[tuple[int, int, str, int, int], Cuts | None] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        return len(self.predict.profile.points[0])

    def best(self) -> list[Prediction]:
        """The quickest plan of each kind, the quickest kind first; plans that do not fit into memory come last."""
        found: dict[str, Prediction] = {}
        likely = sorted(((self._least_seconds(plan), at, plan) for at, plan in enumerate(self.plans())))
        for least, _, plan in likely:
            known = found.get(plan.kind)
            if known is not None and known.fits and least >= (1 + SAME) * known.seconds:
                continue
            for cuts in self.cuts(plan):
                one = self.predict(self._named(plan, cuts), cuts)
                if known is None or _better(one, known):
                    known = found[plan.kind] = one
        ranked = [self._no_worse_than_even(one) for one in found.values()]
        return sorted(ranked, key=lambda one: (not one.fits, one.seconds if one.fits else one.memory))

    def plans(self) -> Iterator[Plan]:
        """All plans on so many devices or fewer, with stages that are numbered, not yet cut."""
        for pipeline in _sizes(min(self.devices, self.rows)):
            for data in _sizes(self.devices // pipeline):
                if self.every and data * pipeline != self.devices:
                    continue
                if data > self.predict.batch or (self.predict.batch % data and pipeline > 1):
                    continue
                yield from filter(self.allowed, self._of(pipeline, data))

    def _of(self, pipeline: int, data: int) -> Iterator[Plan]:
        examples = -(-self.predict.batch // data)
        tables = any(row.tables for row in self.predict.profile.points[0].rows)
        modes = [(False, False)]
        if data > 1:
            modes += [(True, False)] + [(False, True)] * (tables and pipeline == 1)
        for sharded, shared in modes:
            for schedule, each, parts in self._schedules(pipeline, examples):
                if self.predict.batch % (data * parts) and parts > 1:
                    continue
                if examples // parts < self.predict.profile.least and data * parts > 1:
                    continue
                stages = tuple((str(at),) for at in range(pipeline * each)) if pipeline > 1 else ()
                yield Plan(data, stages, schedule, parts, sharded, shared, each)

    def _schedules(self, pipeline: int, examples: int) -> Iterator[tuple[str, int, int]]:
        """(schedule, stages of a device, microbatches)."""
        if pipeline == 1:
            parts = 1
            while parts <= min(_PARTS, examples):
                yield "1f1b", 1, parts
                parts *= 2
            return
        for schedule in SCHEDULES:
            for each in _EACH[schedule] if schedule in LOOPED else (1,):
                for rounds in _ROUNDS:
                    parts = rounds * pipeline
                    small = parts <= examples and 2 * parts * pipeline * each <= MOST_ACTIONS
                    if pipeline * each <= self.rows and small and not misfit(schedule, pipeline, parts, each):
                        yield schedule, each, parts

    def _least_seconds(self, plan: Plan) -> float:
        """No plan of these numbers is quicker: rows cut into equal parts, and messages that take no time."""
        costs = self.predict.costs(self.predict.microbatch(plan))
        each = (costs.total("forward") + costs.total("backward")) / plan.pipeline
        if plan.tables:
            each = 0.0
        filling = 0.0 if plan.schedule == "zero_bubble" else (plan.pipeline - 1) / plan.stages_each
        return (plan.microbatches + filling) * each

    def cuts(self, plan: Plan) -> list[Cuts]:
        """The best cuts for the time, and those for the time within the memory, if these differ."""
        if plan.pipeline == 1:
            return [()]
        quick = self._best_cuts(replace(plan, data=1, sharded=False), limited=False)
        if quick is None:
            return []
        if self.predict(self._named(plan, quick), quick).fits:
            return [quick]
        small = self._best_cuts(plan, limited=True)
        return [quick] if small is None or small == quick else [small, quick]

    def _best_cuts(self, plan: Plan, limited: bool) -> Cuts | None:
        microbatch = self.predict.microbatch(plan)
        costs, link = self.predict.costs(microbatch), self.predict.link
        key = (len(plan.stages), microbatch, plan.schedule, plan.microbatches, plan.data * limited * (1 + plan.sharded))
        if not limited:
            key = (len(plan.stages), microbatch, "", 0, 0)
        if key in self._cuts:
            return self._cuts[key]
        messages = [link.send(size) for size in costs.carried]
        room = self.predict.memory / plan.stages_each

        def least(first: int, last: int) -> float:
            return costs.total("forward", first, last) + costs.total("backward", first, last)

        def cost(stage: int, first: int, last: int) -> float:
            if limited:
                of_stage, _ = self.predict.stage(plan, costs, first, last)
                if of_stage.held + of_stage.work + _under_way(plan, stage) * of_stage.kept > room:
                    return math.inf
            compute, transfer = least(first, last), messages[first] + messages[last]
            return compute + link.exposed(transfer, compute)

        self._cuts[key] = best(len(costs), len(plan.stages), cost, least)
        return self._cuts[key]

    def _no_worse_than_even(self, found: Prediction) -> Prediction:
        """The plan, or the same with an even split by rows or parameters where that is quicker: many stages in a row
        may make a message or two more or less worth it.
        """
        count = len(found.plan.stages)
        if count < 2:
            return found
        costs = self.predict.costs(self.predict.microbatch(found.plan))
        for weights in ([1.0] * len(costs), [row.parameters for row in costs.rows]):
            cuts = even(weights, count)
            other = self.predict(self._named(found.plan, cuts), cuts)
            found = other if _better(other, found) else found
        return found

    def _named(self, plan: Plan, cuts: Cuts) -> Plan:
        return replace(plan, stages=named(self.predict.profile.points[0], cuts)) if plan.pipeline > 1 else plan


def named(costs: Costs, cuts: Cuts) -> tuple[tuple[str, ...], ...]:
    """The names of each stage's rows."""
    names = [row.name for row in costs.rows]
    return tuple(tuple(names[first:last]) for first, last in spans(cuts, len(names)))


def cuts_of(plan: Plan) -> Cuts:
    """Where the stages of a plan begin."""
    places, at = list[int](), 0
    for stage in plan.stages[:-1]:
        at += len(stage)
        places.append(at)
    return tuple(places)


def _better(one: Prediction, other: Prediction) -> bool:
    if one.fits != other.fits:
        return one.fits
    if not one.fits:
        return one.memory < other.memory
    more = one.plan.microbatches - other.plan.microbatches
    if one.plan.pipeline > 1 or not more:
        return one.seconds < other.seconds
    margin = 1 + SAME  # one device adds gradients up only where that is worth it
    return one.seconds * margin < other.seconds if more > 0 else one.seconds <= margin * other.seconds


def _under_way(plan: Plan, stage: int) -> int:
    """The most microbatches whose activations a stage keeps at once."""
    if plan.schedule == "gpipe":
        return plan.microbatches
    return min(plan.microbatches, len(plan.stages) - stage)


def _sizes(most: int) -> list[int]:
    """1, 2, 4, ... and `most` itself."""
    return sorted({most, *(2**power for power in range(most.bit_length()) if 2**power <= most)})
