"""`--parallel auto`: the quickest plan that the engines run becomes the strategy, by what the planner measures."""

from __future__ import annotations

import json
import math
import os
import statistics
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist

from zoo.checks import SpecError
from zoo.parallel.planned import runs, strategy_for
from zoo.parallel.processes import told
from zoo.parallel.replicated import Shared
from zoo.parallel.strategy import PLAN, Strategy, Training
from zoo.planning.candidates import Prediction, Predictor
from zoo.planning.devices import Link
from zoo.planning.plan import Plan
from zoo.planning.planner import simplest_first
from zoo.planning.profile import measured
from zoo.planning.result import duration, volume
from zoo.planning.search import SAME, Search
from zoo.report.memory import physical

ONE_STATE = ("sgd", "adagrad", "lion")  # optimizers with one state of each parameter; others have two


@dataclass(frozen=True)
class Forecast:
    """What the planner expects of each kind of plan, the best first, and of one process; `problem` where it cannot."""

    ranked: Sequence[Prediction] = ()
    alone: Prediction | None = None
    problem: str = ""


class Auto(Shared):
    """Becomes another strategy when it is told the network: that of the quickest plan on all processes.

    The first process measures the network's rows and the messages between the processes, and tells the others its plan.
    """

    name = "auto"
    _made: Strategy | None = None

    def settled(self, training: Training) -> Strategy:
        if self._made is None:
            self.reached("the plan")
            plan, notice = self._known(training.folder)
            if plan is None:
                plan, notice = self._chosen(training, way=notice)
            self._made = strategy_for(plan, self.mesh, self.watch)
            self._made.notice, self._made.plan = notice, json.dumps(plan.to_json())
        return self._made.settled(training)

    def close(self) -> None:
        if self._made is not None:
            self._made.close()

    def _known(self, folder: Path) -> tuple[Plan | None, str]:
        """(the plan of the run in the folder, or None; what is to say of it, or the way that its checkpoints need)."""
        found: tuple[Plan | None, str] = (None, "")
        if self.first:
            kept = folder / "checkpoints"
            way = "fsdp" if any(one.is_dir() for one in kept.glob("step-*")) else ""
            found = None, way or ("data" if any(kept.glob("step-*.pt")) else "")
            with suppress(OSError, ValueError):  # without it, or from an earlier release, there is a new plan
                plan = Plan.from_json(json.loads((folder / PLAN).read_text()))
                if found[1] and runs(plan) and plan.devices == self.mesh.size():
                    found = plan, f"Plan, as before: {plan.words}."
        return told(found, self.mesh)  # type: ignore[no-any-return]

    def _chosen(self, training: Training, way: str) -> tuple[Plan, str]:
        """(a plan for all processes that reads checkpoints of `way`, if there are some; what is to say of it)."""
        size = self.mesh.size()
        data, fsdp = Plan(data=size), Plan(data=size, sharded=True)
        usual = fsdp if way == "fsdp" else data
        if size == 1:
            return usual, "Plan: one process, as torchrun has started no others."
        self._check(data, training)  # what no way trains
        if way == "data":
            return data, f"Plan: {data.words}, as the run's checkpoints are those of parallel=data."
        if refusal := self._refusal(fsdp, training):  # a pipeline is refused too
            return data, f"Plan: {data.words}. No other way trains this: {refusal}"
        found = self._forecast(training)
        if found.problem:
            return usual, f"Plan: {usual.words}. {found.problem}"
        able = [
            one
            for one in found.ranked
            if runs(one.plan)
            and (way != "fsdp" or one.plan.sharded or one.plan.pipeline > 1)
            and not self._refusal(one.plan, training)
        ]
        return (able[0].plan, said(able, found, training.recipe.accumulate)) if able else (data, f"Plan: {data.words}.")

    def _check(self, plan: Plan, training: Training) -> None:
        strategy_for(plan, self.mesh).check(training.model, training.recipe, **training.used)

    def _refusal(self, plan: Plan, training: Training) -> str:
        try:
            self._check(plan, training)
        except ValueError as error:
            return str(error)
        return ""

    def _forecast(self, training: Training) -> Forecast:
        """The first process's, on every process."""
        link, found = self._link(), Forecast()
        if self.first:
            recipe, size, device = training.recipe, self.mesh.size(), self.device
            batch = recipe.batch_size
            states = 1 if recipe.optimizer.lower() in ONE_STATE else 2
            try:
                with torch.random.fork_rng(devices=[] if device is None else [device]):
                    profile = measured(
                        training.model.spec,
                        -(-batch // size),
                        max(1, batch // (16 * size)),
                        size=training.tokens(),
                        states=states,
                        device=device,
                        bfloat16=training.bfloat16,
                    )
                found = forecast(Predictor(profile, batch, link, self._memory()), size)
            except SpecError as error:
                found = Forecast(problem=f"The planner cannot look at this network: {error}")
        return told(found, self.mesh)  # type: ignore[no-any-return]

    def _memory(self) -> float:
        if self.device is not None:
            return float(torch.cuda.get_device_properties(self.device).total_memory)
        there = physical()
        return there / int(os.environ.get("LOCAL_WORLD_SIZE", self.mesh.size())) if there else float("inf")

    def _link(self) -> Link:
        """Of messages among these processes: sums of one number, and of a million."""
        size, group = self.mesh.size(), self.mesh.get_group()

        def seconds(count: int, times: int) -> float:
            message, taken = torch.zeros(count, device=self.device), []
            for _ in range(times + 1):
                start = time.perf_counter()
                dist.all_reduce(message, group=group)
                if message.is_cuda:
                    torch.cuda.synchronize(self.device)
                taken.append(time.perf_counter() - start)
            return statistics.median(taken[1:])  # the first opens connections

        small, large = seconds(1, 20), seconds(1_000_000, 5)
        latency = small / (2 * math.ceil(math.log2(size)))
        sending = max(large - 2 * (size - 1) * latency, 0.1 * large)
        return Link(2 * (size - 1) / size * 4e6 / sending, latency, 0.0 if self.device is None else 1.0)


def forecast(predict: Predictor, processes: int) -> Forecast:
    """Of the plans that use all processes and that an engine runs, and of shared tables."""
    search = Search(predict, processes, every=True, allowed=lambda plan: runs(plan) or _tables(plan))
    return Forecast(simplest_first(search.best()), predict(Plan(), ()))


def said(able: Sequence[Prediction], found: Forecast, batches: int = 1) -> str:
    """What the first process says of the first of the plans that can be, for steps of so many batches."""

    def takes(one: Prediction) -> str:
        return f"{duration(batches * one.seconds)} a step"

    chosen = able[0]
    lines = [f"Plan: {chosen.plan.words}, {takes(chosen)} predicted"]
    lines[0] += f"; the runner-up, {able[1].plan.kind}, {takes(able[1])}." if able[1:] else "."
    if not chosen.fits:
        lines.append(f"It may not fit: {volume(chosen.memory)} a process.")
    alone, tables = found.alone, next((one for one in found.ranked if one.plan.tables), None)
    if alone is not None and alone.fits and alone.seconds <= (1 + SAME) * chosen.seconds:
        lines.append(f"One process would be as fast: {takes(alone)}.")
    if tables is not None and tables.fits and chosen.seconds > (1 + SAME) * tables.seconds:
        lines.append(f"Shared tables (zoo.shard_tables), which only a loop of your own trains: {takes(tables)}.")
    return " ".join(lines)


def _tables(plan: Plan) -> bool:
    return plan.tables and plan.pipeline == 1 and plan.microbatches == 1
