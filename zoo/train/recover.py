"""`recover`: a compressed network learns the answers of the dense one, on a few hundred inputs without labels."""

from __future__ import annotations

import json
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from zoo import kinds
from zoo.checks import check_flag, is_int, is_number, short
from zoo.files import make_folder, path_to_write, write_whole
from zoo.model.build import Model
from zoo.model.defaults import check_device
from zoo.model.verify import rebuildable
from zoo.passes.data import Calibration, as_calibration
from zoo.report.agreement import likeness
from zoo.train.checkpoints import digest
from zoo.train.divergence import Diverged
from zoo.train.finetune import copied, finished, history, trainable
from zoo.train.imitation import Imitation
from zoo.train.log import TrainingLog
from zoo.train.loop import fit
from zoo.train.recipe import Recipe
from zoo.train.unlabelled import Unlabelled
from zoo.weights.file import save
from zoo.weights.header import source_of
from zoo.weights.matches_name import share_of_zeros
from zoo.weights.trial import try_save

MINUTES = 5.0
MOST_MINUTES = 100_000  # ten weeks
MOST_STEPS = 10_000_000
ROUND = 32  # steps, about, between two rows of the record
TIMED = 3  # steps, before the training
RECIPE = Recipe(batch_size=32, learning_rate=1e-4, weight_decay=0.0, temperature=2.0, soft_weight=0.7)
ADVICE = "Give recover a few hundred preprocessed inputs without labels, like those that the network will see"


def recover(
    model: Model,
    teacher: Model,
    data: Any,
    *,
    minutes: float | None = None,
    steps: int | None = None,
    batch_size: int = RECIPE.batch_size,
    learning_rate: float = RECIPE.learning_rate,
    seed: int = 0,
    out: str | Path | None = None,
    save_seconds: float = 300,
    device: str | torch.device = "cpu",
    quiet: bool = False,
) -> Model:
    """Win back accuracy without labels: a compressed network learns the answers of the network that it was made of.

    The loop is that of `zoo finetune`: a pruned network keeps its widths, a sparse one its zeros, and an int8 one
    trains with fake quantization and comes back int8. Pictures are cut and mirrored anew in every step. The
    loss is the distance from the teacher's answers and from the outputs of the rows that both networks share
    (Hinton et al., 2015; Romero et al., 2015). The same call with the same `out` goes on after an interruption.

    Args:
        model (Model): the compressed network; it stays as it is.
        teacher (Model): the dense network, with the same input and classes; it stays as it is.
        data (Any): a few hundred preprocessed inputs, as `zoo.compress` takes for calibration. Labels are left out.
        minutes (float | None): how long to train, on this machine; a few steps are timed first. Default: None, which is
            5.0 without `steps`.
        steps (int | None): the number of steps, in place of `minutes`: the same on every machine. Above 32 it is
            rounded up to whole rounds. Default: None.
        batch_size (int): inputs in a step, at most as many as there are. Default: 32.
        learning_rate (float): the highest learning rate of the schedule. Default: 0.0001.
        seed (int): the same inputs, options and seed give the same weights on the same machine. Default: 0.
        out (str | Path | None): a folder for the network, with checkpoints and curves in training/. None: nothing is
            kept on the disk. Default: None.
        save_seconds (float): longest time between two checkpoints, in seconds. Default: 300.
        device (str | torch.device): where to train. The result is on the CPU. Default: "cpu".
        quiet (bool): print nothing. Default: False.

    Returns:
        A new `Model` in eval mode. `made["trained"]` says what it learned from, and its agreement with the teacher
        before and after: the percent of `data` with the same class, or the mean cosine. Inputs that it has not learned
        from agree less often. A warning says where it fell.

    Raises:
        ValueError: the networks differ in input or classes, the teacher is smaller or sparser than the network or the
            same, there are no inputs, or an option is out of its bounds.
        FileError: `out` cannot be written.

    Example:
        >>> dense = zoo.create("resnet20")
        >>> pictures = zoo.preprocess(dense)(zoo.samples("cifar10", "train").images[:16])
        >>> sparse = zoo.compress(dense, "sparse", sparsity=0.8)
        >>> better = zoo.recover(sparse, teacher=dense, data=pictures, steps=2, quiet=True)
        >>> better.made["trained"]["teacher"]
        'resnet20.cifar10'
    """
    model, teacher = (rebuildable(one, "recover", float32=True) for one in (model, teacher))
    check_flag("quiet", quiet)
    check_device(device)
    _check_options(minutes, steps, save_seconds)
    start, taught = digest(model), digest(teacher)
    _check_fit(model, teacher, same=start == taught)
    minutes = MINUTES if minutes is None else minutes
    batches = Calibration(map(teacher.completed, as_calibration(data, ADVICE, model)))
    inputs = Unlabelled(batches)
    recipe = replace(RECIPE, batch_size=batch_size, learning_rate=learning_rate, seed=seed)
    recipe = replace(recipe, batch_size=min(batch_size, len(inputs)))
    told: dict[str, Any] = {"by": "recover", "teacher": str(source_of(teacher.made).get("name", teacher.spec.name))}
    told |= {"inputs": len(inputs), "sha256": inputs.sha256}
    asked: dict[str, Any] = {"start": start, "teacher": taught, "data": inputs.sha256}
    asked |= {"minutes": minutes} if steps is None else {"steps": steps}
    with _folder(out) as folder:
        if out is not None:
            trial = copied(model)
            trial.made = {**history(model.made), "trained": told}
            try_save(trial, folder)
        student, zeros = trainable(model, batches)
        student.to(device)
        objective = Imitation(student, copied(teacher).to(device), recipe)
        if steps is None:
            steps = _planned(folder / "training", asked, minutes, partial(_seconds, student, objective, inputs, recipe))
        rounds = max(1, steps // ROUND)
        each = -(-steps // rounds)
        inputs.length = each * recipe.batch_size
        before = _likeness(model, teacher, batches)
        _warn_of_teacher(before, kinds.classes(teacher.spec), told["inputs"])
        try:
            fit(
                student,
                inputs,
                replace(recipe, epochs=rounds),
                folder=folder / "training",
                objective=objective,
                after_step=zeros,
                identity=asked,
                save_seconds=save_seconds,
                log=TrainingLog(folder / "training", quiet=quiet),
            )
        except Diverged as error:
            kept = None if out is None else folder / "training" / "checkpoints"
            raise Diverged(error.loss, error.step, error.row, kept, "Lower learning_rate=.") from None
        tuned = finished(student.cpu())
        after = _likeness(tuned, teacher, batches)
        _warn_of_loss(model, before, after, told["inputs"])
        told |= {"steps": rounds * each, "seed": seed, **after}
        told |= {f"{name}_before": value for name, value in before.items()}
        tuned.labels = model.labels
        tuned.made = {**history(tuned.made), "trained": told}
        if out is not None:
            save(tuned, folder)
    return tuned


def _likeness(model: Model, teacher: Model, batches: Sequence[Any]) -> dict[str, float]:
    """How near the answers are: {"agreement": percent} of equal classes, or {"cosine": mean} without classes."""
    found = likeness(model, teacher, batches)
    return {name: found[name] for name in ("agreement", "cosine") if name in found}


def _warn_of_loss(model: Model, before: Mapping[str, float], after: Mapping[str, float], inputs: int) -> None:
    """Where the training did harm, beyond what other cuts of the same pictures explain."""
    for name, most in (("agreement", max(5.0, 300 / inputs)), ("cosine", 0.05)):
        if name in after and not after[name] >= before[name] - most:
            warnings.warn(
                f"After recover {model.spec.name} is further from its teacher than before: {name} {before[name]:g} "
                f"before, {after[name]:g} after. Lower learning_rate=, or give more data or time.",
                UserWarning,
                stacklevel=3,
            )


def _warn_of_teacher(before: Mapping[str, float], classes: int, inputs: int) -> None:
    """Where the networks agree as seldom as two that have nothing to do with each other."""
    if not classes or "agreement" not in before:
        return
    chance = 1 / classes
    usual = 100 * (chance + 3 * (chance * (1 - chance) / inputs) ** 0.5)
    if before["agreement"] <= min(usual, 60.0):
        warnings.warn(
            f"The network and its teacher agree on {before['agreement']:g}% of the inputs, about as often as by "
            "chance. Is teacher= the trained network that it was made of?",
            UserWarning,
            stacklevel=3,
        )


def _check_options(minutes: float | None, steps: int | None, save_seconds: float) -> None:
    """Raise ValueError for a time or a number that is none."""
    if minutes is not None and not (is_number(minutes) and 0 < minutes <= MOST_MINUTES):
        raise ValueError(f"minutes= takes a number above 0 and at most {MOST_MINUTES:,}, not {short(minutes)}.")
    if not (is_number(save_seconds) and save_seconds >= 0):
        raise ValueError(f"save_seconds= takes a number that is not negative, not {short(save_seconds)}.")
    if steps is not None and not (is_int(steps) and 0 < steps <= MOST_STEPS):
        raise ValueError(f"steps= takes a whole number above 0 and at most {MOST_STEPS:,}, not {short(steps)}.")
    if steps is not None and minutes is not None:
        raise ValueError("minutes= and steps= say the same thing: give one of them.")


def _check_fit(model: Model, teacher: Model, *, same: bool) -> None:
    """Raise ValueError for networks that do not fit each other; `same`: they are one."""
    made_of = f"give the network that {model.spec.name} was made of"
    if teacher.spec.input != model.spec.input:
        raise ValueError(f"The teacher takes other inputs than {model.spec.name}: {made_of}.")
    ours, theirs = kinds.classes(model.spec), kinds.classes(teacher.spec)
    if ours != theirs or (model.labels and teacher.labels and tuple(model.labels) != tuple(teacher.labels)):
        raise ValueError(f"The teacher has other classes than {model.spec.name} ({theirs}, {ours}): {made_of}.")
    if kinds.cost(teacher.spec).macs < kinds.cost(model.spec).macs:
        raise ValueError(f"The teacher is smaller than {model.spec.name}: {made_of}, as teacher=.")
    if share_of_zeros(teacher) > share_of_zeros(model) + 0.01:
        raise ValueError(f"The teacher has more zeros than {model.spec.name}: {made_of}, as teacher=.")
    if same:
        raise ValueError(f"The teacher is {model.spec.name} itself, which has nothing to learn from it: {made_of}.")


@contextmanager
def _folder(out: str | Path | None) -> Iterator[Path]:
    """The folder of the run: `out`, or one that is gone afterwards."""
    if out is not None:
        yield path_to_write(out)
        return
    with tempfile.TemporaryDirectory(prefix="zoo-recover-") as folder:
        yield Path(folder)


def _planned(folder: Path, asked: Mapping[str, Any], minutes: float, seconds: Callable[[], float]) -> int:
    """The number of steps for the time. A run that goes on keeps the number of its first call."""
    plan = folder / "plan.json"
    if plan.is_file():
        try:
            told = json.loads(plan.read_text())
            before, steps = dict(told["asked"]), told["steps"]
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            before, steps = dict(asked), 0  # the loop refuses a folder of another run
        if differing := sorted(key for key in {*before, *asked} if before.get(key) != asked.get(key)):
            raise ValueError(
                f"{folder} belongs to another run, which differs in {', '.join(differing)}: give what that run was "
                "given to go on, or choose another out=."
            )
        if is_int(steps) and steps > 0:
            return int(steps)
    steps = min(MOST_STEPS, max(1, int(60 * minutes / seconds())))
    make_folder(folder)
    write_whole(plan, (json.dumps({"asked": asked, "steps": steps}).encode(),))
    return steps


def _seconds(student: Model, objective: Imitation, inputs: Unlabelled, recipe: Recipe) -> float:
    """Seconds of a step, taken on a copy of the network."""
    trial = copied(student)
    objective.prepare(trial)
    index = torch.arange(recipe.batch_size)
    taken = []
    with torch.random.fork_rng(devices=[]):
        for batch in inputs.stream([index] * TIMED, 0):
            began = time.perf_counter()
            objective.loss(trial, batch)[0].backward()  # type: ignore[no-untyped-call]
            taken.append(time.perf_counter() - began)
    return min(taken) * 1.05  # the optimiser's part
