"""One loop for training, distilling, and fine-tuning compressed networks.

A step depends only on the recipe, the data and the step's number. So a run that was stopped at any step continues to
exactly the weights of an uninterrupted run.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn as nn

from zoo import tasks
from zoo.files import make_folder, write_whole
from zoo.model.build import Model
from zoo.model.finite import first_bad_row
from zoo.parallel.strategy import PLAN, Strategy
from zoo.spec import ModelSpec
from zoo.train.accuracy import accuracy as accuracy
from zoo.train.checkpoints import Checkpoints
from zoo.train.depthwise_bf16 import subsampled_depthwise
from zoo.train.divergence import Diverged
from zoo.train.log import TrainingLog
from zoo.train.memory import kept_memory
from zoo.train.objective import Examples, Objective, Supervised
from zoo.train.optim import Schedule, make_optimizer
from zoo.train.pictures import Pictures, order_of, with_recipe
from zoo.train.precision import uses_bfloat16
from zoo.train.recipe import Recipe
from zoo.train.recompute import recomputed
from zoo.train.sharing import settled
from zoo.train.signals import heard_signals


class AfterStep(Protocol):
    """Runs after every optimiser step, and is saved in checkpoints; for instance a `zoo.Sparsifier`."""

    def step(self, done: int, total: int) -> None: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or a termination signal, after the state was saved."""


def fit(
    model: Model,
    train: Examples,
    recipe: Recipe,
    *,
    folder: Path,
    validation: Pictures | None = None,
    teacher: nn.Module | None = None,
    objective: Objective | None = None,
    after_step: AfterStep | None = None,
    identity: Mapping[str, Any] | None = None,
    save_seconds: float = 300,
    log: TrainingLog | None = None,
    strategy: Strategy | None = None,
) -> Model:
    """Train `model` in place, with checkpoints; the same call continues an interrupted run.

    Args:
        model (Model): the network; it is trained in place.
        train (Examples): the training data; labelled pictures where there is no `objective`.
        recipe (Recipe): the settings of the training.
        folder (Path): where checkpoints and logs are. A checkpoint is written after every epoch, every `save_seconds`,
            and at Ctrl-C.
        validation (Pictures | None): pictures to measure accuracy on after every epoch. Default: None.
        teacher (nn.Module | None): a network whose outputs are soft labels. Default: None.
        objective (Objective | None): what a step minimises. Default: None, the task's loss and the teacher's.
        after_step (AfterStep | None): called after every step, such as a `zoo.Sparsifier`. Default: None.
        identity (Mapping[str, Any] | None): JSON values that also distinguish this run from others, such as digests of
            the initial network and the teacher. Default: None.
        save_seconds (float): seconds between checkpoints. Default: 300.
        log (TrainingLog | None): where progress and figures go. Default: None, a log in `folder`.
        strategy (Strategy | None): how several processes share the work. Default: None, one process does it.

    Returns:
        Model: the same network, in eval mode; another one where no process had all of its weights.

    Raises:
        ValueError: `folder` has a run of another recipe, training data or identity, or the data makes no step.
        Diverged: a loss is not finite; the error names step and row.
    """
    if objective is None:
        objective = _usual_objective(model, recipe, teacher, train)
    log = log or TrainingLog(folder)
    train = with_recipe(train, recipe)
    if recipe.targets != "data":
        teachers = list(getattr(teacher, "members", [teacher] if teacher is not None else []))
        check_targets(model.spec, recipe, teachers)
        train = tasks.of(model.spec).fetch("taught")(train, teachers, recipe, log)
    strategy = settled(strategy, model, train, recipe, folder, teacher=teacher is not None)
    if strategy.notice:
        log.say(strategy.notice)
    run = _Run(model, train, recipe, folder, objective, after_step, identity, log, strategy)
    strategy.compare({**run.checkpoints.run_id, "validation": getattr(validation, "sha256", None)})
    run.resume()
    run.log.begin(run.rows, run.done, run.total)
    try:
        with run.prepared(), heard_signals() as signalled:
            while run.done < run.total:
                run.epoch(validation, save_seconds, signalled)
    finally:
        run.log.end()
    return run.finish()


def check_targets(spec: ModelSpec, recipe: Recipe, teachers: Sequence[Any]) -> None:
    """Raise ValueError for targets that no teacher can give."""
    task = tasks.of(spec)
    if recipe.targets != "data" and not task.taught:
        raise ValueError(f"targets={recipe.targets} is for translations, and {spec.name} is for {task.name}.")
    if recipe.targets != "data" and len(teachers) != 1:
        raise ValueError(f"targets={recipe.targets} takes one teacher, not {len(teachers)}: translations have no mean.")


def _usual_objective(model: Model, recipe: Recipe, teacher: nn.Module | None, train: Examples) -> Objective:
    """That of the network's task, else the task's loss."""
    if tasks.of(model.spec).objective:
        return tasks.of(model.spec).fetch("objective")(model, recipe, teacher)  # type: ignore[no-any-return]
    return Supervised(model, recipe, teacher, shift=0 if getattr(train, "cut_at_random", False) else None)


def steps_an_epoch(train: Examples, recipe: Recipe) -> int:
    """The number of steps in an epoch. Raises ValueError if the examples make no step."""
    together = recipe.batch_size * recipe.accumulate
    if len(train) < together:
        raise ValueError(f"{len(train)} examples make no step of {together}; choose a smaller batch_size.")
    return len(train) // together


class _Run:
    """The state of a run, and its steps."""

    def __init__(
        self,
        model: Model,
        train: Examples,
        recipe: Recipe,
        folder: Path,
        objective: Objective,
        after_step: AfterStep | None,
        identity: Mapping[str, Any] | None,
        log: TrainingLog,
        strategy: Strategy,
    ) -> None:
        self.steps = steps_an_epoch(train, recipe)
        self.train, self.recipe, self.log, self.strategy = train, recipe, log, strategy
        self.objective, self.after_step = objective, after_step
        self.done, self.total = 0, recipe.epochs * self.steps
        self.loss_sum, self.rows = 0.0, list[dict[str, float]]()
        objective.prepare(model)
        self.frozen = _frozen(model, recipe.freeze)
        model, self.network = strategy.wrapped(model, recipe)
        self.model = model
        self.learned: nn.Module | None = getattr(objective, "learned", None)  # trains beside the network
        self.optimizer = make_optimizer(model, recipe, self.learned)
        self.schedule = Schedule(self.optimizer, recipe, self.total)
        self.average = _moving_average(model, recipe.average)
        self.device = next(model.parameters()).device
        self.bfloat16 = uses_bfloat16(model, recipe)
        run_id = {"recipe": recipe.identity(), "train": train.sha256, "pictures": len(train), **(identity or {})}
        self.checkpoints = Checkpoints(folder / "checkpoints", run_id, log.say)

    @contextmanager
    def prepared(self) -> Iterator[None]:
        """Settings that make steps quicker or save memory, without changing a result."""
        with ExitStack() as stack:
            if self.device.type == "cpu":
                stack.enter_context(kept_memory())
                if self.bfloat16:
                    stack.enter_context(subsampled_depthwise(self.model))
            if self.recipe.recompute:
                stack.enter_context(recomputed(self.model))
            yield

    def resume(self) -> None:
        """Continue from the last undamaged checkpoint, if there is one."""
        found = self.strategy.restore(self.checkpoints, self._parts())
        if found is None:
            return
        self.done, beside = found
        self.loss_sum, self.rows = beside["loss_sum"], beside["rows"]
        self.log.say(f"Going on from step {self.done:,} of {self.total:,}.")

    def epoch(self, validation: Pictures | None, save_seconds: float, signalled: list[int]) -> None:
        """Run the remaining steps of the current epoch."""
        number, skipped = divmod(self.done, self.steps)
        began, saved, first = time.monotonic(), time.monotonic(), self.done
        batches = self._batches(number, skipped)
        for frozen in self.frozen:
            frozen.eval()  # batch norm keeps its statistics
        for _ in range(skipped, self.steps):
            self._step(batches)
            self.log.step(self.done, self.loss_sum / (self.done - number * self.steps))
            stop, due = self.strategy.any(bool(signalled), time.monotonic() - saved >= save_seconds)
            if stop and self.done % self.steps:  # after the last step, the end of the epoch saves
                self._save(last=True)
                self._stop(signalled)
            if due and self.done % self.steps:
                self._save()
                saved = time.monotonic()
        seconds = time.monotonic() - began
        row = {
            "epoch": number + 1.0,
            "step": float(self.done),
            "loss": self.loss_sum / self.steps,
            "learning_rate": self.schedule.rates[self.done - 1],
            "examples_per_second": (self.done - first) * self.recipe.batch_size * self.recipe.accumulate / seconds,
            "seconds": seconds,
        }
        if validation is not None:
            judged = self.average.module if self.average is not None else self.strategy.whole(self.model)
            row["validation"] = accuracy(judged, validation, self.strategy)
        self.rows, self.loss_sum = [*self.rows, row], 0.0
        (stop,) = self.strategy.any(bool(signalled))
        stop = stop and self.done < self.total
        self._save(last=stop or self.done == self.total)
        self.log.epoch(row)
        if stop:
            self._stop(signalled)

    def _stop(self, signalled: list[int]) -> None:
        self.log.say(f"Saved at step {self.done:,}; the same command goes on from here.")
        raise Interrupted(f"signal {signalled[0]}" if signalled else "a signal to another process")

    def finish(self) -> Model:
        """The trained model in eval mode; the moving average if the recipe has one."""
        if self.average is not None:
            self.model.load_state_dict(self.average.module.state_dict())
            if self.after_step is not None:
                self.after_step.step(self.total, self.total)  # restore zeros that the moving average changed
        for parameter in self.model.parameters():
            parameter.grad = None
        for row in self.frozen:
            row.requires_grad_(True)
        return self.strategy.whole(self.model).eval()

    def _batches(self, epoch: int, skipped: int) -> Iterator[Any]:
        order = order_of(self.train, torch.Generator().manual_seed(_mixed(self.recipe.seed, epoch)))
        size, per_step = self.recipe.batch_size, self.recipe.accumulate
        parts = order[: self.steps * per_step * size].split(size)[skipped * per_step :]
        return self.train.stream([self.strategy.share(one) for one in parts], _mixed(self.recipe.seed, epoch))

    def _step(self, batches: Iterator[Any]) -> None:
        losses = []
        self.strategy.begin(self.done + 1)
        self.schedule.at(self.done)
        self.optimizer.zero_grad()
        for part in range(self.recipe.accumulate):
            batch = next(batches)
            with torch.random.fork_rng(devices=[]):
                _seed(_mixed(self.recipe.seed, self.done, part + 1, *self.strategy.seed), self.device)
                parts, last = self.recipe.accumulate, part + 1 == self.recipe.accumulate
                loss, x = self.strategy.gradients(self.objective, self.network, batch, parts=parts, last=last)
            losses.append(self.strategy.mean(loss))
            if not math.isfinite(losses[-1]):
                raise Diverged(losses[-1], self.done + 1, self._bad_row(loss, x), self.checkpoints.folder)
        if self.recipe.clip:
            beside = self.learned.parameters() if self.learned is not None else ()
            self.strategy.clip([*self.model.parameters(), *beside], self.recipe.clip)
        self.optimizer.step()
        self.done += 1
        if self.after_step is not None:
            self.after_step.step(self.done, self.total)
        if self.average is not None:
            self.average.update(self.model, step=self.done)
        self.loss_sum += sum(losses) / len(losses)

    def _parts(self) -> dict[str, Any]:
        parts: dict[str, Any] = {"model": self.model, "optimizer": self.optimizer}
        if self.after_step is not None:
            parts["after_step"] = self.after_step
        if self.learned is not None:
            parts["learned"] = self.learned
        if self.average is not None:
            parts["average"] = self.average.module
        return parts

    def _save(self, *, last: bool = False) -> None:
        beside = {"loss_sum": self.loss_sum, "rows": self.rows}
        if self.strategy.first and self.strategy.plan:
            folder = self.checkpoints.folder.parent
            make_folder(folder)
            write_whole(folder / PLAN, [self.strategy.plan.encode()])
        self.strategy.save(self.checkpoints, self.done, self._parts(), beside, last=last)

    def _bad_row(self, loss: float, x: Any) -> str | None:
        """The first row whose output is not finite, on the first process whose loss is not."""
        whole = self.strategy.whole(self.model)
        return self.strategy.told(  # type: ignore[no-any-return]
            lambda: None if math.isfinite(loss) else _first_bad_row(whole, x)
        )


def _first_bad_row(model: Model, x: Any) -> str | None:
    copied = copy.deepcopy(model)  # a call changes the statistics of batch norm
    return first_bad_row(copied, **x) if isinstance(x, Mapping) else first_bad_row(copied, x)


def _frozen(model: Model, count: int) -> list[nn.Module]:
    """The first `count` rows, which do not train. Raises ValueError where that leaves none that could."""
    rows = list(model.children())
    if not any(True for row in rows[count:] for _ in row.parameters()):
        raise ValueError(f"freeze= leaves nothing to train: {model.spec.name} has {len(rows)} rows, not {count}.")
    for row in rows[:count]:
        row.requires_grad_(False)
    return rows[:count]


def _moving_average(model: Model, decay: float) -> Any:
    if not decay:
        return None
    from timm.utils import ModelEmaV3

    return ModelEmaV3(model, decay=decay, use_warmup=True)


def _seed(seed: int, device: torch.device) -> None:
    """Seed what computes on `device`. `torch.manual_seed` would note a call for every kind of device, at each step."""
    if device.type == "cpu":
        torch.default_generator.manual_seed(seed)
    else:
        torch.manual_seed(seed)


def _mixed(*numbers: int) -> int:
    """One seed from several numbers. It is a hash: torch uses 32 bits of a seed, and sums would collide."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])
