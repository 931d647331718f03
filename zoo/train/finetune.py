"""Fine-tune any network and keep its variant: the widths after pruning, the zeros of sparse weights, int8 integers."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zoo import tasks
from zoo.checks import check_flag, noted
from zoo.files import kept_if_filled, path_to_write
from zoo.model.build import Model
from zoo.model.verify import rebuildable
from zoo.parallel.strategy import Strategy
from zoo.passes.compress import compress
from zoo.passes.qat import prepare_qat, unranged
from zoo.passes.sparsify import Sparsifier
from zoo.train.checkpoints import digest
from zoo.train.guidance import Guidance
from zoo.train.log import NoLog, TrainingLog
from zoo.train.loop import accuracy, check_targets, fit, steps_an_epoch
from zoo.train.pictures import Pictures, order_of
from zoo.train.recipe import Recipe
from zoo.train.sharing import settled
from zoo.train.teachers import Ensemble
from zoo.weights.file import save
from zoo.weights.header import source_of
from zoo.weights.matches_name import share_of_zeros
from zoo.weights.trial import try_save

CALIBRATION = 512  # training pictures that give the edges their ranges


def finetune(
    model: Model,
    train: Pictures,
    recipe: Recipe,
    out: str | Path,
    *,
    validation: Pictures | None = None,
    teachers: Sequence[Model] = (),
    sparsity: float = 0.0,
    identity: Mapping[str, Any] | None = None,
    save_seconds: float = 300,
    device: str | torch.device = "cpu",
    quiet: bool = False,
    strategy: Strategy | None = None,
) -> Model:
    """Train a copy of a network, save it, and keep its variant.

    An int8 network trains with fake quantization, with batch norm folded, and the result is int8. A sparse network
    keeps its zeros. Checkpoints, metrics.csv, curves and TensorBoard's files are in `out`/training, and the same call
    continues an interrupted run. A trial save at the start refuses what could not be saved at the end. The result's
    `made` keeps the origin and the licence of the initial weights.

    Args:
        model (Model): the network to start from; it does not change.
        train (Pictures): labelled pictures, of `zoo.train.data`.
        recipe (Recipe): the settings of the training.
        out (str | Path): the folder to save in.
        validation (Pictures | None): pictures to measure accuracy on after every epoch. Default: None.
        teachers (Sequence[Model]): networks whose mean logits the student follows. Default: none.
        sparsity (float): the share of weights to bring to zero over the first half of the steps, from 0 to below 1.
            Default: 0.0.
        identity (Mapping[str, Any] | None): JSON values that also distinguish this run from others. Default: None.
        save_seconds (float): seconds between checkpoints. Default: 300.
        device (str | torch.device): where to train. Default: "cpu".
        quiet (bool): print no progress. Default: False.
        strategy (Strategy | None): how several processes share the work, of `zoo.parallel.launch`; the first of them
            writes. Default: None, one process.

    Returns:
        Model: the trained network, on the CPU and in eval mode.

    Raises:
        ValueError: the data has one class, an option is out of range or has no effect, or `out` holds another run.
        FileError: the result could not be saved.
    """
    model = rebuildable(model, "finetune", float32=True)  # refuses a network that could not be saved
    out = path_to_write(out)
    _check(model)
    if not 0 <= sparsity < 1:
        raise ValueError(f"sparsity= takes a number from 0 to below 1, not {sparsity!r}.")
    if sparsity and recipe.freeze:
        raise ValueError("sparsity= brings zeros to every row, and freeze= keeps the first ones as they are; give one.")
    recipe.check_used(teacher=bool(teachers), shifts=not train.cut_at_random)
    check_flag("quiet", quiet)
    check_targets(model.spec, recipe, teachers)
    if teachers:
        Guidance(model, teachers, recipe)  # refuses rows that cannot be compared
    tasks.batches(model.spec)(model, recipe)  # refuses what it does not use, before anything is written
    steps_an_epoch(train, recipe)
    if len(train.classes) == 1 and not tasks.of(model.spec).objects:  # an object of one class is told from none
        raise ValueError(f"{train.source} has one class alone, {train.classes[0]!r}: there is nothing to tell apart.")
    if validation is not None and tasks.of(model.spec).binary and validation.labels.is_floating_point():
        raise ValueError(
            f"{validation.source} has shares of yes for labels, and what is measured needs labels 0 and 1: give other "
            "validation data, or none (zoo finetune: a validation part, or --held-out 0)."
        )
    if sparsity and is_sparse(model):
        raise ValueError(f"{model.spec.name} is sparse already and keeps its zeros; leave sparsity= out.")
    used = {"teacher": bool(teachers), "sparsity": bool(sparsity), "sparse": is_sparse(model), "int8": _is_int8(model)}
    strategy = settled(strategy, model, train, recipe, out / "training", **used)
    teacher = Ensemble(teachers, model) if teachers else None
    start = copied(model)
    start.labels = model.labels or train.classes
    start.made = {**history(model.made), "trained": _told(model, train, recipe, teachers, sparsity)}
    inputs = labelled_inputs(train, model)[0] if _is_int8(model) and unranged(model) else None
    trained, zeros = trainable(model, inputs)  # refuses what cannot be trained in int8
    with kept_if_filled(out) if strategy.first else nullcontext():  # data may be refused in the first epoch
        if strategy.first:
            try_save(start, out)
        run_id = {"start": digest(model), "teachers": [digest(one) for one in teachers], "sparsity": sparsity}
        run_id["labels"] = _labels_digest(train.labels)  # a file may have several columns of labels
        trained.to(device)
        if sparsity:
            zeros = Sparsifier(trained, sparsity=sparsity)
        log = (TrainingLog if strategy.first else NoLog)(out / "training", quiet=quiet)
        trained = fit(
            trained,
            train,
            recipe,
            folder=out / "training",
            validation=validation,
            teacher=None if teacher is None else teacher.to(device),
            after_step=zeros,
            identity={**(identity or {}), **run_id},
            save_seconds=save_seconds,
            log=log,
            strategy=strategy,
        )
    tuned = finished(trained.cpu())
    tuned.labels = start.labels
    told = dict(start.made["trained"])
    if validation is not None:
        task = tasks.of(model.spec)
        name = "accuracy" if task.has_classes else task.metrics[0].name
        told[f"validation_{name}"] = round(accuracy(tuned, validation, strategy), 2 if task.has_classes else 6)
    tuned.made = {**history(tuned.made), "trained": told}
    if strategy.first:
        save(tuned, out)
    return tuned


def _check(model: Model) -> None:
    """Raise ValueError for a network that `finetune` does not train, before anything is written."""
    if not model.spec.input.loader:
        raise ValueError(
            f"{model.spec.name} takes {model.spec.input.unit}, which finetune does not train on. Train it in a "
            "loop of your own: it is an nn.Module, and zoo.preprocess(model) makes its inputs."
        )


def _told(model: Model, train: Pictures, recipe: Recipe, teachers: Sequence[Model], sparsity: float) -> dict[str, Any]:
    """The notes on the training for the file."""
    told: dict[str, Any] = {"on": train.source, "sha256": train.sha256, "pictures": len(train), **recipe.changed()}
    if teachers:
        told["teacher"] = ", ".join(str(source_of(one.made).get("name", one.spec.name)) for one in teachers)
    if sparsity or is_sparse(model):
        told["sparsity"] = sparsity or round(share_of_zeros(model), 3)
    return told


def _labels_digest(labels: Any) -> str:
    return sha256(torch.as_tensor(labels).contiguous().numpy().tobytes()).hexdigest()


def history(made: Mapping[str, Any]) -> dict[str, Any]:
    """`made` with "trained" moved to the list "trained_before", so that the notes of every training stay."""
    if "trained" not in made:
        return dict(made)
    earlier = [*noted(made, "trained_before"), noted(made, "trained")]
    return {**{key: value for key, value in made.items() if key != "trained"}, "trained_before": earlier}


def trainable(model: Model, inputs: Any = None) -> tuple[Model, Sparsifier | None]:
    """(a copy to train, the `Sparsifier` that holds its zeros or None). int8 rows become qat rows.

    `inputs` give ranges to the rows of an int8 network that have none, such as a new head.
    """
    model = rebuildable(model, "finetune", float32=True)
    trained = prepare_qat(model, inputs if unranged(model) else None) if _is_int8(model) else copied(model)
    return trained, Sparsifier.holding(trained) if is_sparse(model) else None


def finished(trained: Model) -> Model:
    """The trained network for inference: qat rows become int8 rows."""
    if any(row.precision == "qat" for row in trained.spec):
        return compress(trained, "int8")
    return trained


def _is_int8(model: Model) -> bool:
    return any(row.precision == "int8" for row in model.spec)


def is_sparse(model: Model) -> bool:
    """Whether a pass or a training made the model sparse, or at least half of its weights are zero."""
    passes = [one.get("pass") for one in noted(model.made, "passes")]
    if "sparse" in passes or noted(model.made, "trained").get("sparsity"):
        return True
    return share_of_zeros(model) >= 0.5


def labelled_inputs(train: Pictures, model: Model, count: int = CALIBRATION) -> tuple[Tensor, Tensor]:
    """(inputs, targets): `count` training examples, the same each time, as the network takes them."""
    order = order_of(train, torch.Generator().manual_seed(0))  # folders are sorted by class
    images, labels = next(iter(train.stream([order[:count]], 0)))
    return tasks.batches(model.spec)(model).inputs(images), labels


def copied(model: Model) -> Model:
    copied = copy.deepcopy(model)
    for parameter in copied.parameters():
        parameter.requires_grad_(True)
    return copied
