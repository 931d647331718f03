"""What each row of a network costs in training, at one batch or, between those that were looked at, at any."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from itertools import accumulate
from typing import Any

from zoo.spec import ModelSpec

INPUT = -1  # the place of the network's input


@dataclass(frozen=True)
class RowCost:
    """A row at one batch: seconds, and bytes.

    Args:
        name (str): the row's.
        forward (float): seconds of the forward pass.
        backward_input (float): seconds of the gradient of its input.
        backward_weight (float): seconds of the gradients of its weights.
        kept (float): bytes that the forward pass leaves for the backward pass.
        work (float): bytes that a pass takes beside, while it runs.
        output (float): bytes of its output.
        parameters (float): bytes of its parameters.
        tables (float): bytes of those that are embedding tables of a recommender.
        asked (float): bytes of the vectors that it looks up in these tables.
    """

    name: str
    forward: float = 0.0
    backward_input: float = 0.0
    backward_weight: float = 0.0
    kept: float = 0.0
    work: float = 0.0
    output: float = 0.0
    parameters: float = 0.0
    tables: float = 0.0
    asked: float = 0.0

    @property
    def backward(self) -> float:
        return self.backward_input + self.backward_weight


TIMES = ("forward", "backward_input", "backward_weight")
BY_BATCH = tuple(one.name for one in fields(RowCost) if one.name not in ("name", "parameters", "tables"))


@dataclass(frozen=True)
class Costs:
    """The rows of a network at one batch.

    Args:
        rows (tuple[RowCost, ...]): in order.
        batch (int): examples.
        taps (tuple[tuple[int, ...], ...]): the places whose outputs each row takes; -1 is the network's input.
        tied (tuple[int, ...]): the place of the row whose table each row uses, or -1.
        input (float): bytes of the input. Default: 0.
    """

    rows: tuple[RowCost, ...]
    batch: int
    taps: tuple[tuple[int, ...], ...]
    tied: tuple[int, ...]
    input: float = 0.0

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def carried(self) -> tuple[float, ...]:
        """The bytes that go over a cut before each row, and after the last: outputs that rows behind the cut take."""
        last = {place: at for at, taken in enumerate(self.taps) for place in taken}
        sizes = [0.0] * (len(self) + 1)
        for place, at in last.items():
            size = self.input if place == INPUT else self.rows[place].output
            for cut in range(place + 1, at + 1):
                sizes[cut] += size if cut else 0.0
        return tuple(sizes)

    @cached_property
    def sums(self) -> dict[str, list[float]]:
        """Running sums over the rows, of what adds up."""
        summed = ("forward", "backward_input", "backward_weight", "backward", "kept", "parameters", "tables", "asked")
        return {name: [0.0, *accumulate(getattr(row, name) for row in self.rows)] for name in summed}

    def total(self, name: str, first: int = 0, last: int | None = None) -> float:
        """The sum of `name` over the rows from `first` to before `last`."""
        sums = self.sums[name]
        return sums[len(self) if last is None else last] - sums[first]

    def copied(self, first: int, last: int) -> float:
        """Bytes of tables that rows of this stretch use and that rows before it hold: the stretch has a copy."""
        sources = {self.tied[at] for at in range(first, last)}
        return sum(self.rows[place].parameters for place in sources if 0 <= place < first)


@dataclass(frozen=True)
class Profile:
    """The costs of a network at some batches, and of the optimizer's step.

    Args:
        network (str): its name.
        points (tuple[Costs, ...]): at growing batches.
        update (float): seconds of the optimizer's step for each byte of parameters.
        states (int): how many values the optimizer keeps for each parameter.
        measured (bool): whether times were measured here; otherwise they follow from a device's numbers.
        device (str): the device in words. Default: empty.
        least (int): the fewest examples of a microbatch. Default: 1.
    """

    network: str
    points: tuple[Costs, ...]
    update: float
    states: int
    measured: bool
    device: str = ""
    least: int = 1

    @property
    def copy(self) -> float:
        """Seconds to copy a byte: the optimizer reads and writes 3 + 2 `states` for each of the parameters."""
        return 2 * self.update / (3 + 2 * self.states)

    def at(self, batch: int) -> Costs:
        """At any batch: linear between the neighbours, and beyond the last two as they lead on.

        Measured times beyond the last grow with the batch: the slope of two neighbours has the noise of both.
        """
        if self.measured and batch > (last := self.points[-1]).batch and len(self.points) > 1:
            return self._with_times(_between(self.points[-2], last, batch), _between(last, last, batch))
        if len(self.points) == 1:
            return _between(self.points[0], self.points[0], batch)
        place = min(max(1, bisect_left([one.batch for one in self.points], batch)), len(self.points) - 1)
        return _between(self.points[place - 1], self.points[place], batch)

    @staticmethod
    def _with_times(costs: Costs, times: Costs) -> Costs:
        rows = tuple(
            _changed(row, {name: getattr(other, name) for name in TIMES})
            for row, other in zip(costs.rows, times.rows, strict=True)
        )
        return replace(costs, rows=rows)


def _between(low: Costs, high: Costs, batch: int) -> Costs:
    if batch in (low.batch, high.batch):
        return low if batch == low.batch else high
    if low is high:
        scale = batch / low.batch
        rows = tuple(_changed(row, {name: scale * getattr(row, name) for name in BY_BATCH}) for row in low.rows)
        return replace(low, rows=rows, batch=batch, input=scale * low.input)
    share = (batch - low.batch) / (high.batch - low.batch)

    def mixed(one: float, other: float) -> float:
        found = one + share * (other - one)
        return max(found, one * batch / low.batch) if share < 0 else max(found, 0.0)

    rows = tuple(
        _changed(one, {name: mixed(getattr(one, name), getattr(other, name)) for name in BY_BATCH})
        for one, other in zip(low.rows, high.rows, strict=True)
    )
    return replace(low, rows=rows, batch=batch, input=mixed(low.input, high.input))


def _changed(row: RowCost, by_name: dict[str, Any]) -> RowCost:
    return replace(row, **by_name)


def wiring(spec: ModelSpec, branches: Sequence[bool]) -> tuple[tuple[tuple[int, ...], ...], tuple[int, ...]]:
    """(places whose outputs each row takes, place of the row whose table each row uses or -1).

    `branches` says which rows drop the output of the row before.
    """
    places = {"input": INPUT} | {row.name: at for at, row in enumerate(spec)}
    taps = tuple(
        tuple(dict.fromkeys((*(() if dropped else (at - 1,)), *(places[tap] for tap in row.taps))))
        for at, (row, dropped) in enumerate(zip(spec, branches, strict=True))
    )
    tied = tuple(places.get(row.args.get("tied") or "", INPUT) for row in spec)
    return taps, tied
