"""What the planner found: the choice, the runners-up, and why."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo import formatting
from zoo.planning import timeline
from zoo.planning.candidates import Prediction
from zoo.planning.plan import Plan

HEADERS = (
    "plan",
    "step",
    "of one\nprocess",
    "examples\na second",
    "waiting in\npipeline",
    "messages",
    "memory\na device",
)


@dataclass(frozen=True, repr=False)
class Planned:
    """The quickest plan, and the quickest of each other kind.

    Attributes:
        network (str): the network's name.
        devices (int): how many there are; the plan may use fewer.
        batch (int): examples of a step, on all devices together.
        chosen (Prediction): the plan, with its `seconds`, `bubble`, `memory` and `communication`.
        others (tuple[Prediction, ...]): the runners-up, the quickest first; those that do not fit come last.
        why (str): in words, a line for each kind.
        assumed (str): what the times and the memory rest on.
        measured (bool): whether the times of rows were measured on this processor.
    """

    network: str
    devices: int
    batch: int
    chosen: Prediction
    others: tuple[Prediction, ...]
    why: str
    assumed: str
    measured: bool

    @property
    def plan(self) -> Plan:
        """The chosen plan."""
        return self.chosen.plan

    @property
    def one_process(self) -> Prediction:
        """What one process would do."""
        return next(one for one in (self.chosen, *self.others) if one.plan.kind == "one process")

    def rows(self) -> list[list[str]]:
        """A row of texts for each plan, under `HEADERS`."""
        alone = self.one_process.seconds
        return [
            [
                one.plan.words,
                duration(one.seconds),
                f"{one.seconds / alone:.2f}",
                f"{self.batch / one.seconds:,.0f}"
                if self.batch / one.seconds >= 10
                else f"{self.batch / one.seconds:.2g}",
                f"{one.bubble:.0%}" if one.plan.pipeline > 1 else "",
                f"{one.communication / one.seconds:.0%}" if one.plan.data > 1 else "",
                volume(one.memory) + ("" if one.fits else ", too much"),
            ]
            for one in (self.chosen, *self.others)
        ]

    def stages(self) -> list[str]:
        """The stages of the chosen plan in words, one a line."""
        named = enumerate(self.plan.stages)
        return [f"stage {at}: {rows[0]}" + (f" to {rows[-1]}" if len(rows) > 1 else "") for at, rows in named]

    def timeline(self, width: int = 96) -> str:
        """Draw as text which device of a replica computes what and when.

        Args:
            width (int): characters of a step. Default: 96.

        Returns:
            A line for each device, and a legend.
        """
        return timeline.text(self.chosen.simulation.spans, width)

    def draw(self, path: str | os.PathLike[str]) -> Path:
        """Write the timeline to a PNG.

        Args:
            path (path): a file that ends in .png.

        Returns:
            The file.

        Raises:
            ValueError: the file does not end in .png, or matplotlib is missing.
        """
        title = f"{self.network}: {self.plan.words}, {duration(self.chosen.seconds)} a step"
        return timeline.draw(self.chosen.simulation.spans, path, title)

    def to_json(self) -> dict[str, Any]:
        """Give all of it as JSON values; `Plan.from_json` takes `["chosen"]["plan"]`.

        Returns:
            A dict.
        """
        names = ("network", "devices", "batch", "why", "assumed", "measured")
        found = {name: getattr(self, name) for name in names}
        return {**found, "chosen": self.chosen.to_json(), "others": [one.to_json() for one in self.others]}

    def __repr__(self) -> str:
        table = formatting.text(HEADERS, self.rows())
        return "\n".join([table, "", self.why, *self.stages(), self.assumed])


def volume(size: float) -> str:
    """As `formatting.size`, and gigabytes: 45.6 MB, 7.9 GB."""
    return f"{size / 1e9:,.3g} GB" if size >= 999.5e6 else formatting.size(size)


def duration(seconds: float) -> str:
    """1.23 s, 45.6 ms, 789 us."""
    for factor, unit in ((1, "s"), (1e3, "ms")):
        if seconds * factor >= 0.9995:
            return f"{seconds * factor:.3g} {unit}" if seconds * factor < 999.5 else f"{seconds * factor:,.0f} {unit}"
    return f"{seconds * 1e6:.3g} us"


def why(chosen: Prediction, others: tuple[Prediction, ...], devices: int, memory: float) -> str:
    """Why the chosen plan, and what the others lose by."""
    alone = next(one for one in (chosen, *others) if one.plan.kind == "one process")
    if chosen is alone and devices > 1:
        said = ["One process is fastest."]
    elif chosen is alone:
        said = ["There is one device."]
    else:
        said = [f"{chosen.plan.kind}, on {chosen.plan.devices} of {devices} devices: {_gain(chosen, alone)}."]
        if chosen.plan.devices < devices:
            said.append("More of them would wait for messages longer than they save.")
    return "\n".join([*said, *(_lost(one, chosen, memory) for one in others if one is not alone)])


def _gain(chosen: Prediction, alone: Prediction) -> str:
    ratio = f"{alone.seconds / chosen.seconds:.1f} times as fast as one process"
    if not alone.fits:
        ratio += f", which would need {volume(alone.memory)} and does not fit"
    lost = [f"{chosen.bubble:.0%} of the time devices wait in the pipeline"] if chosen.bubble > 0.005 else []
    share = chosen.communication / chosen.seconds
    lost += [f"{share:.0%} goes to messages between replicas"] if share > 0.005 else []
    return ratio + (f"; {' and '.join(lost)}" if lost else "")


def _lost(one: Prediction, chosen: Prediction, memory: float) -> str:
    name = one.plan.kind
    if one.fits and one.seconds <= chosen.seconds:
        return f"{name}: {one.seconds / chosen.seconds:.2f} times as long, which is not worth its complications."
    if not one.fits:
        over = volume(one.memory - memory)
        return f"{name}: does not fit, {volume(one.memory)} a device, {over} too much."
    longer = f"{name}: {one.seconds / chosen.seconds:.2f} times as long"
    waits, messages = one.bubble * one.seconds, one.communication
    if max(waits, messages) < 0.03 * one.seconds:
        return f"{longer}, as its slowest device has more to do." if one.plan.pipeline > 1 else f"{longer}."
    if waits > messages:
        return f"{longer}, of which devices wait {waits / one.seconds:.0%} in the pipeline."
    return f"{longer}, of which {messages / one.seconds:.0%} goes to messages between replicas."
