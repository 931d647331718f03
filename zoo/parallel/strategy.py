"""How the steps of a training are shared among processes. Here one process does everything; others inherit from it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn as nn
from torch import Tensor

from zoo.model.build import Model

PLAN = "plan.json"  # of the planner, beside the checkpoints, so that the run goes on in the same way


@dataclass(frozen=True)
class Training:
    """What a strategy is told of a training before it begins.

    Args:
        model (Model): the network.
        recipe (Any): how it is trained.
        folder (Path): the run's own, with its checkpoints.
        tokens (Callable[[], int | None]): gives the length of the texts; None, where there are no texts.
        bfloat16 (Callable[[Model], bool]): whether a network computes in bfloat16.
        used (Mapping[str, bool]): other options by name, and whether they are used.
    """

    model: Model
    recipe: Any
    folder: Path
    tokens: Callable[[], int | None]
    bfloat16: Callable[[Model], bool]
    used: Mapping[str, bool]


class Strategy:
    """One process. A training loop asks it for all that several processes do in another way.

    Attributes:
        name (str): what `--parallel` calls it. Default: "none".
        first (bool): whether this process writes files and tells of the run.
        replicas (int): how many parts a batch has.
        replica (int): which of them is this process's.
        seed (tuple[int, ...]): what makes the random numbers of a step differ from those of other parts.
        notice (str): what the first process says at the start of a run. Default: nothing.
        plan (str): the planner's plan that it follows, as JSON. Default: none.
    """

    name = "none"
    first = True
    replicas = 1
    replica = 0
    seed: tuple[int, ...] = ()
    notice = ""
    plan = ""

    def settled(self, training: Training) -> Strategy:
        """The strategy for this training; raises as `check` does. Every process calls it."""
        self.check(training.model, training.recipe, **training.used)
        return self

    def check(self, model: Model, recipe: Any, **used: bool) -> None:
        """Raise ValueError for what this strategy does not train; `used` names other options, and whether they are."""

    def compare(self, run_id: Mapping[str, Any]) -> None:
        """Raise ValueError on every process if the processes have different runs."""

    def begin(self, step: int) -> None:
        """Called before each step."""

    def share(self, index: Tensor) -> Tensor:
        """This process's part of a batch, of which `index` (B,) has the numbers of the examples."""
        return index

    def wrapped(self, model: Model, recipe: Any) -> tuple[Model, Any]:
        """(the network with the parameters that train here, what an objective calls in its place)."""
        return model, model

    def gradients(
        self, objective: Any, network: Any, batch: Any, *, parts: int = 1, last: bool = True
    ) -> tuple[float, Any]:
        """Add the gradients of one of the `parts` of a step; returns (loss, the network's input)."""
        loss, x = objective.loss(network, batch)
        (loss / parts).backward()
        return loss.item(), x

    def clip(self, parameters: Iterable[Tensor], most: float) -> None:
        """Scale all gradients down where their norm is above `most`."""
        nn.utils.clip_grad_norm_(parameters, most)

    def mean(self, loss: float) -> float:
        """The loss of the whole batch."""
        return loss

    def any(self, *wishes: bool) -> Sequence[bool]:
        """Of each wish, whether one of the processes has it."""
        return wishes

    def told(self, find: Callable[[], Any]) -> Any:
        """The first answer of a process that is not None."""
        return find()

    def whole(self, model: Model) -> Model:
        """The network with all its weights, on every process. Every process calls it."""
        return model

    def save(
        self, checkpoints: Any, step: int, parts: Mapping[str, Any], more: Mapping[str, Any], *, last: bool = False
    ) -> None:
        """Write a checkpoint; the one behind the `last` step is on the disk when this returns."""
        checkpoints.write(step, {**{name: part.state_dict() for name, part in parts.items()}, **more})

    def restore(self, checkpoints: Any, parts: Mapping[str, Any]) -> tuple[int, Mapping[str, Any]] | None:
        """Read the newest checkpoint into `parts`; returns (step, what was saved beside them), None without one."""
        found = checkpoints.latest()
        if found is None:
            return None
        step, state = found
        for name, part in parts.items():
            part.load_state_dict(state[name])
        return step, state

    def judged(self, judge: Any, add: Callable[[Any, Sequence[int]], None], count: int) -> None:
        """Let `judge` see all of `count` batches; `add(judge, numbers)` shows it some of them."""
        add(judge, range(count))

    def close(self) -> None:
        """Finish what runs beside the training."""

    @property
    def device(self) -> torch.device | None:
        """The device of this process, where the strategy says it."""
        return None
