"""Measure a network on pictures with labels: the figure that the manifest promises, taken again."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from zoo.labelled import Labelled, open_labelled
from zoo.preprocess import ImageError, Preprocess, preprocess

if TYPE_CHECKING:
    from zoo.build import Model


@dataclass(frozen=True, repr=False)
class Evaluation:
    """`value` is in percent, as are those of `per_class`; `skipped` names the pictures that could not be read."""

    metric: str
    value: float
    examples: int
    source: str
    sha256: str
    seconds: float
    per_class: dict[str, float]
    skipped: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def __repr__(self) -> str:
        text = (
            f"{self.value:.2f}% {self.metric} on {self.examples:,} pictures of {self.source} "
            f"(sha256 {self.sha256[:12]}...), {self.seconds:.1f} s"
        )
        if self.skipped:
            shown = ", ".join(self.skipped[:5]) + (", ..." if len(self.skipped) > 5 else "")
            text += f"\n{len(self.skipped)} could not be read and were left out: {shown}"
        return text


def evaluate(model: Model, data: Any, *, batch_size: int = 250, progress: bool = False) -> Evaluation:
    """Top-1 accuracy of `model` on `data`.

    `data` is the path of a Parquet file in the Hub's column style ('img' or 'image', and 'label'), the path of a folder
    with a folder for every class, a pair (images uint8 (N, H, W, 3), labels (N,)), or `zoo.samples(...)`. Pictures are
    prepared as the network asks; one that cannot be read is left out and named. `progress` draws a bar on stderr.

    Raises ValueError for data of another form, labels that the network does not have, or a network without classes.
    """
    if not isinstance(batch_size, int) or isinstance(batch_size, bool) or batch_size < 1:
        raise ValueError(f"batch_size is a whole number of at least 1, not {batch_size!r}.")
    if (last := model.spec.rows[-1]).kind != "classifier":
        raise ValueError(f"This {model.spec.name} ends in {last.name!r}, not in a classifier: it gives no answers.")
    pictures = open_labelled(data, model)
    if not len(pictures.labels):
        raise ValueError(f"{pictures.source} holds no pictures.")
    began = time.perf_counter()
    labels, answers, skipped = _answers(model, pictures, batch_size, progress)
    seconds = time.perf_counter() - began
    if not len(labels):
        raise ValueError(f"None of the {len(skipped)} pictures of {pictures.source} can be read; {skipped[0]} is one.")
    right = labels == answers
    return Evaluation(
        metric="top-1 accuracy",
        value=100 * float(right.mean()),
        examples=len(labels),
        source=pictures.source,
        sha256=pictures.sha256,
        seconds=seconds,
        per_class={
            class_name(model, int(label)): 100 * float(right[labels == label].mean()) for label in np.unique(labels)
        },
        skipped=tuple(skipped),
    )


def class_name(model: Model, label: int) -> str:
    """The label's name, or "class 3" where the model has no names."""
    return model.labels[label] if label < len(model.labels) else f"class {label}"


def _answers(model: Model, data: Labelled, batch_size: int, progress: bool) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """(labels, answers) of the readable pictures, and the names of the others."""
    prepare = preprocess(model)
    device = next((tensor.device for tensor in model.state_dict().values()), torch.device("cpu"))
    kept: list[int] = []
    answers: list[np.ndarray] = []
    skipped: list[str] = []
    training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            every = range(len(data.labels))
            for start in _track(every[::batch_size], progress):
                cut, labels = _read_batch(data, every[start : start + batch_size], prepare, skipped)
                if not cut:
                    continue
                logits = model(prepare.normalize(np.stack(cut)).to(device))
                _check_labels(labels, logits.shape[1], data.source)
                kept += labels
                answers.append(logits.argmax(1).cpu().numpy())
    finally:
        model.train(training)
    return np.array(kept, dtype=np.int64), np.concatenate(answers) if answers else np.array([]), skipped


def _read_batch(
    data: Labelled, indices: range, prepare: Preprocess, skipped: list[str]
) -> tuple[list[np.ndarray], list[int]]:
    cut, labels = [], []
    for i in indices:
        try:
            cut.append(prepare.cut(data.read(i)))
            labels.append(int(data.labels[i]))
        except ImageError:
            skipped.append(data.names[i])
    return cut, labels


def _check_labels(labels: list[int], classes: int, source: str) -> None:
    outside = [label for label in labels if not 0 <= label < classes]
    if outside:
        raise ValueError(f"{source} has label {outside[0]}, but the network knows only 0 to {classes - 1}.")


def _track(steps: range, progress: bool) -> Any:
    if not progress:
        return steps
    from rich.console import Console
    from rich.progress import track

    return track(steps, description="Evaluating", console=Console(stderr=True), transient=True)
