"""What users hand to a pass: a tensor, a dict of tensors (text), or an iterable of such, or of (inputs, labels).

Where a network's call takes raw examples, as a recommender's does, a pass takes them too.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from zoo.spec import ModelSpec

if TYPE_CHECKING:
    from zoo.model.build import Model

BATCH = 64
_FORM = "as a tensor or an iterable of tensors"
_MADE = "zoo.preprocess(model) makes them of raw examples."

Batch = Tensor | Mapping[str, Tensor]  # pictures or token ids, or what `zoo.preprocess` makes of texts


# What loaders call the labels in their dicts.
LABELS = ("labels", "label", "label_ids", "start_positions", "end_positions")


def prepared(data: Any, model: Model | ModelSpec) -> Any:
    """Raw examples, or those of a pair with labels, as `model` computes on them; all else as it is."""
    if isinstance(model, ModelSpec) or not model.spec.input.raw:
        return data
    if isinstance(data, tuple) and len(data) == 2 and _is_raw(data[0]):
        return model.encode(data[0]), torch.as_tensor(data[1])  # type: ignore[operator]
    return model.encode(data) if _is_raw(data) else data  # type: ignore[operator]


def _spec(model: Model | ModelSpec) -> ModelSpec:
    return model if isinstance(model, ModelSpec) else model.spec


def _is_raw(data: Any) -> bool:
    """Whether it is a table, of any library, or rows of one."""
    first = data[0] if isinstance(data, (list, tuple)) and data else data
    return isinstance(first, Mapping) or (not isinstance(data, Tensor) and hasattr(data, "columns"))


def as_batches(data: Any, why: str, model: Model | ModelSpec) -> list[Any]:
    """Batches of inputs of the network; a single one is split. Labels beside them are left out.

    Raises ValueError where there is none.
    """
    spec, data = _spec(model), prepared(data, model)
    if _is_pair(data):
        data = data[0]
    if isinstance(data, (Tensor, Mapping)):
        batches = split(_inputs(data, spec))
    elif isinstance(data, Iterable):
        batches = [_inputs(prepared(batch, model), spec) for batch in data]
    else:
        raise ValueError(f"{why}, {_FORM}, not {type(data).__name__}. {_MADE}")
    if not batches or not all(_is_batch(batch) and count(batch) for batch in batches):
        raise ValueError(f"{why}, {_FORM}. {_MADE}")
    for batch in batches:
        whole = isinstance(batch, Tensor) or "input_ids" not in batch
        spec.input.check(spec.name, batch if whole else batch["input_ids"])
    _check_finite(batches, "Calibration data")
    return batches


class Uncalibrated(ValueError):
    """A pass was given no `calibration=` and cannot do without."""


class Calibration(list[Any]):
    """Batches that `as_calibration` has checked: they are not checked again."""


def as_calibration(calibration: Any, why: str, model: Model | ModelSpec) -> Calibration:
    """`as_batches` to range edges on. Raises ValueError for pictures of one value; warns of a single input."""
    if isinstance(calibration, Calibration):
        return calibration
    batches = Calibration(as_batches(calibration, why, model))
    examples = sum(map(count, batches))
    if all(isinstance(batch, Tensor) for batch in batches):
        low, high = min(float(batch.min()) for batch in batches), max(float(batch.max()) for batch in batches)
        if low == high:
            raise ValueError(
                f"Every value of the {examples} calibration inputs is {low:g}: nothing can be ranged on that. {why}."
            )
    if examples == 1:
        warnings.warn(f"Calibrated on 1 input alone. {why}.", UserWarning, stacklevel=4)
    return batches


def as_labelled_batches(data: Any, why: str, model: Model | ModelSpec) -> list[tuple[Any, Tensor]]:
    """Batches of (inputs, labels), from pairs or from dicts that hold both; a single one is split."""
    spec = _spec(model)
    if isinstance(data, Mapping):
        data = (data, _labels(data, why))
    data = prepared(data, model) if isinstance(data, tuple) else data
    if isinstance(data, tuple) and len(data) == 2 and _is_batch(data[0]) and isinstance(data[1], Tensor):
        data = zip(split(_inputs(data[0], spec)), data[1].split(BATCH), strict=True)
    if not isinstance(data, Iterable):
        raise ValueError(f"{why}, as (inputs, labels), not {type(data).__name__}.")
    pairs = [(batch, _labels(batch, why)) if isinstance(batch, Mapping) else batch for batch in data]
    pairs = [prepared(pair, model) for pair in pairs]
    batches = [
        (_inputs(pair[0], spec), pair[1]) for pair in pairs if isinstance(pair, (tuple, list)) and len(pair) == 2
    ]
    if not batches or not all(count(inputs) and count(inputs) == len(labels) for inputs, labels in batches):
        raise ValueError(f"{why}, as (inputs, labels) pairs of one length.")
    _check_finite([inputs for inputs, _ in batches], "Labelled data")
    return batches


def _check_finite(batches: Iterable[Batch], what: str) -> None:
    """Codes have no NaN: an int8 network would answer such inputs as if they were others."""
    if not all(torch.isfinite(part).all() for batch in batches for part in _tensors(batch)):
        raise ValueError(f"{what} holds values that are not finite.")


def _inputs(batch: Any, spec: ModelSpec) -> Any:
    """What the network takes of a batch: the first of a pair, and of a dict all but labels. Passes run in float32."""
    if isinstance(batch, (tuple, list)) and batch:
        batch = batch[0]
    if isinstance(batch, Mapping):
        batch = spec.input.of_dict(spec.name, {key: value for key, value in batch.items() if key not in LABELS})
    changes = isinstance(batch, Tensor) and batch.is_floating_point() and not spec.input.double
    return batch.float() if changes else batch


def _labels(batch: Mapping[str, Any], why: str) -> Any:
    found = [batch[key] for key in ("labels", "label", "label_ids") if key in batch]
    if len(found) != 1:
        raise ValueError(f"{why}: a dict has them under 'labels', and this one has {sorted(map(str, batch))}.")
    return found[0]


def count(batch: Batch) -> int:
    """How many examples it has."""
    return len(_tensors(batch)[0])


def split(data: Batch, size: int = BATCH) -> list[Any]:
    """The inputs in batches of `size` at most."""
    if isinstance(data, Tensor):
        return list(data.split(size))
    parts = {key: value.split(size) for key, value in data.items()}
    return [dict(zip(parts, batch, strict=True)) for batch in zip(*parts.values(), strict=True)]


def _is_pair(data: Any) -> bool:
    """Whether it is inputs and their labels (N,), rather than two batches."""
    if not (isinstance(data, (tuple, list)) and len(data) == 2 and isinstance(data[1], Tensor) and _is_batch(data[0])):
        return False
    return data[1].dim() == 1 and not data[1].is_floating_point() and count(data[0]) == len(data[1])


def _is_batch(data: Any) -> bool:
    if isinstance(data, Mapping):
        return bool(data) and all(isinstance(value, Tensor) for value in data.values())
    return isinstance(data, Tensor)


def _tensors(batch: Batch) -> list[Tensor]:
    return list(batch.values()) if isinstance(batch, Mapping) else [batch]
