"""Fine-tune any network and keep its variant: pruned ones their widths, sparse ones their zeros, int8 ones integers."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zoo.build import Model
from zoo.compress import compress
from zoo.compress.qat import prepare_qat
from zoo.compress.sparsify import Sparsifier
from zoo.train.images import normalize
from zoo.train.loop import accuracy, fit
from zoo.train.pictures import Pictures
from zoo.train.recipe import Recipe
from zoo.train.record import Record
from zoo.train.teachers import Ensemble
from zoo.weights.file import save
from zoo.weights.holds import share_of_zeros

CALIBRATION = 512  # training pictures that edges are ranged on


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
) -> Model:
    """Train a copy of `model` on `train`, save it in the folder `out`, and return it.

    An int8 network trains with fake quantization, its batch norm folded as int8 has it, and comes back int8; one that
    a pass or a training has made sparse keeps its zeros. Checkpoints, metrics.csv, curves and TensorBoard's files go to
    `out`/training, and the same call goes on from there. With `teachers`, the student follows the mean of their logits;
    with `sparsity`, that share of its weights is brought to zero over the first half of the steps.
    """
    out = Path(out)
    trained, zeros = trainable(model, labelled_inputs(train, model)[0])
    if zeros is not None and sparsity:
        raise ValueError(f"{model.spec.name} is sparse already and keeps its zeros; leave sparsity out.")
    whose = {"start": _digest(model), "teachers": [_digest(one) for one in teachers], "sparsity": sparsity}
    trained.to(device)
    if sparsity:
        zeros = Sparsifier(trained, sparsity=sparsity)
    record = Record(out / "training", quiet=quiet)
    fit(
        trained,
        train,
        recipe,
        folder=out / "training",
        validation=validation,
        teacher=Ensemble(teachers, model.spec.pictures).to(device) if teachers else None,
        after_step=zeros,
        identity={**(identity or {}), **whose},
        save_seconds=save_seconds,
        record=record,
    )
    tuned = finished(trained.cpu())
    tuned.labels = model.labels or train.classes
    told: dict[str, Any] = {"on": train.source, "sha256": train.sha256, "pictures": len(train), **recipe.changed()}
    if teachers:
        told["teacher"] = ", ".join(teacher.spec.name for teacher in teachers)
    if zeros is not None:
        told["sparsity"] = sparsity or round(share_of_zeros(model), 3)
    if validation is not None:
        told["validation_accuracy"] = round(accuracy(tuned, validation), 2)
    tuned.made = {**tuned.made, "trained": told}
    save(tuned, out)
    return tuned


def trainable(model: Model, inputs: Tensor | None = None) -> tuple[Model, Sparsifier | None]:
    """(a copy to train, what holds its zeros or None). int8 rows become fake-quantized ones.

    `inputs` range the rows of an int8 network that have no ranges yet, those behind a new head.
    """
    int8 = any(row.precision == "int8" for row in model.spec)
    trained = prepare_qat(model, inputs) if int8 else _copied(model)
    return trained, Sparsifier.holding(trained) if is_sparse(model) else None


def finished(trained: Model) -> Model:
    """What was trained, as it is used: fake quantization becomes integers."""
    if any(row.precision == "qat" for row in trained.spec):
        return compress(trained, "int8")
    return trained


def is_sparse(model: Model) -> bool:
    """Whether a pass or a training made the model sparse, or half of its weights are zero."""
    passes = [one.get("pass") for one in model.made.get("passes", [])]
    if "sparse" in passes or model.made.get("trained", {}).get("sparsity"):
        return True
    return share_of_zeros(model) >= 0.5


def labelled_inputs(train: Pictures, model: Model, count: int = CALIBRATION) -> tuple[Tensor, Tensor]:
    """(inputs (N, C, H, W), labels (N,)): `count` training pictures, the same each time, as the network takes them."""
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))  # folders come class by class
    images, labels = next(iter(train.stream([order[:count]], 0)))
    return normalize(images, model.spec.pictures.mean, model.spec.pictures.std), labels


def _digest(model: Model) -> str:
    """Of the spec and every tensor."""
    digest = sha256(model.spec.dumps().encode())
    for key, tensor in model.state_dict().items():
        digest.update(key.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _copied(model: Model) -> Model:
    copied = copy.deepcopy(model)
    for parameter in copied.parameters():
        parameter.requires_grad_(True)
    return copied
