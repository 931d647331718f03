"""A way to train a network on several devices, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from zoo.checks import check_keys, is_int, require
from zoo.planning.schedules import SCHEDULES, misfit


@dataclass(frozen=True)
class Plan:
    """Who computes what: replicas of a pipeline of stages. Each device of a replica has as many stages as the others.

    Args:
        data (int): replicas, each with its part of the batch. Default: 1.
        stages (tuple[tuple[str, ...], ...]): the names of each stage's rows, in order. Stage s is on device s modulo
            the devices of a replica. Default: none, all rows on one device.
        schedule (str): "gpipe", "1f1b", "interleaved" or "zero_bubble". Default: "1f1b".
        microbatches (int): the parts that a replica computes its examples in, one after another. Default: 1.
        sharded (bool): whether replicas share parameters, gradients and states of the optimizer out among them, as
            FSDP2's `fully_shard` does. Default: False.
        tables (bool): whether they share the rows of embedding tables out, as `zoo.shard_tables` does. Default: False.
        stages_each (int): stages of a device. Default: 1.

    Raises:
        SpecError: a field is out of bounds, or torch has no such schedule.

    Example:
        >>> from zoo.planning.plan import Plan
        >>> plan = Plan(data=2, stages=(("stem", "s1_1"), ("pool", "classifier")), microbatches=4)
        >>> plan.devices, plan.words
        (4, 'pipeline of 2 stages (1f1b, 4 microbatches), 2 replicas')
    """

    data: int = 1
    stages: tuple[tuple[str, ...], ...] = ()
    schedule: str = "1f1b"
    microbatches: int = 1
    sharded: bool = False
    tables: bool = False
    stages_each: int = 1

    def __post_init__(self) -> None:
        for name in ("data", "microbatches", "stages_each"):
            value = getattr(self, name)
            require(is_int(value) and value >= 1, f"{name} of a plan is a whole number from 1 on, not {value!r}")
        for name in ("sharded", "tables"):
            require(isinstance(getattr(self, name), bool), f"{name} of a plan is true or false")
        require(self.schedule in SCHEDULES, f"schedule of a plan is one of {', '.join(SCHEDULES)}")
        whole = len(self.stages) % self.stages_each == 0 and all(self.stages)
        require(whole, "stages of a plan have rows, and each device has as many stages")
        problem = misfit(self.schedule, self.pipeline, self.microbatches, self.stages_each)
        require(not problem, f"in a plan {problem}")

    @property
    def pipeline(self) -> int:
        """The devices of one replica."""
        return max(1, len(self.stages) // self.stages_each)

    @property
    def devices(self) -> int:
        return self.data * self.pipeline

    @property
    def kind(self) -> str:
        """In one word or two: "one process", "data", "fsdp", "tables", "pipeline", "pipeline x data", ..."""
        across = "fsdp" if self.sharded else "tables" if self.tables else "data"
        parts = ["pipeline"] * (self.pipeline > 1) + [across] * (self.data > 1)
        return " x ".join(parts) or "one process"

    @property
    def words(self) -> str:
        """The plan in one line."""
        said = []
        if self.pipeline > 1:
            each = f", {self.stages_each} a device" if self.stages_each > 1 else ""
            said.append(
                f"pipeline of {len(self.stages)} stages{each} ({self.schedule}, {self.microbatches} microbatches)"
            )
        if self.data > 1:
            how = {"fsdp": " that share all parameters (FSDP2)", "tables": " that share the tables (zoo.shard_tables)"}
            across = "fsdp" if self.sharded else "tables" if self.tables else "data"
            said.append(f"{self.data} replicas{how.get(across, '')}")
        if self.pipeline == 1 and self.microbatches > 1:
            said.append(f"gradients of {self.microbatches} microbatches added up")
        return ", ".join(said if self.devices > 1 else ["one process", *said])

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "stages": [list(stage) for stage in self.stages]}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The plan of what `to_json` gave; raises SpecError for anything else."""
        names = set(cls.__dataclass_fields__)
        check_keys(data, "a plan", required=set(), optional=names)
        stages = data.get("stages", ())
        listed = isinstance(stages, (list, tuple)) and all(isinstance(one, (list, tuple)) for one in stages)
        named = listed and all(isinstance(row, str) for one in stages for row in one)
        require(named, "stages of a plan are lists of names of rows")
        return cls(**{**data, "stages": tuple(tuple(one) for one in stages)})
