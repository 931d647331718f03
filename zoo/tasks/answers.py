"""The meaning of a network's outputs, by its task: chances of one class, chances of each, or scores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from zoo import tasks
from zoo.checks import SpecError

if TYPE_CHECKING:
    from torch import Tensor

    from zoo.model.build import Model

MULTI_LABEL = "multi-label-"  # before a task: each class for itself, by a sigmoid
PROBLEMS = ("single_label_classification", "multi_label_classification", "regression")  # transformers' words
TOP = 5


def task_of(task: str, problem: object, outputs: int) -> str:
    """The task of a classifier with one of transformers' problem types, or None; raises SpecError for another.

    One output alone is a yes or no, of which the sigmoid is the chance, unless the problem is a regression.
    """
    if problem is not None and problem not in PROBLEMS:
        raise SpecError(f"its problem_type is {str(problem)[:60]!r}, which is none of {list(PROBLEMS)}")
    if problem == "regression":
        return task.replace("classification", "scoring")
    return MULTI_LABEL + task if problem == "multi_label_classification" or outputs == 1 else task


def usual_task(task: str) -> str:
    """The same task in the words that other libraries know."""
    return tasks.TASKS[task].usual if task in tasks.TASKS else task


def answers(task: str, logits: Tensor) -> tuple[str, Tensor]:
    """ "probability" or "score", and the one or the other of each class, for logits (..., classes)."""
    known = tasks.TASKS.get(task, tasks.TASKS["image-classification"])
    values = {"softmax": lambda: logits.softmax(-1), "sigmoid": logits.sigmoid, "": lambda: logits}[known.activation]()
    return known.outputs, values


def guesses(model: Model, logits: Tensor, count: int) -> list[tuple[str, float]]:
    """(label, probability or score) of so many classes of one example (K,), the likeliest first."""
    _, values = answers(tasks.of(model.spec).name, logits)
    top = values.topk(min(count, len(values)))
    return [(class_name(model, i), value) for value, i in zip(top.values.tolist(), top.indices.tolist(), strict=True)]


class Shown(Protocol):
    """One answer as a person reads it."""

    def to_json(self) -> dict[str, Any]: ...

    def lines(self) -> Iterator[str]: ...


class Top:
    """The likeliest classes of one example, with their probabilities or scores."""

    def __init__(self, model: Model, logits: Tensor) -> None:
        self._what = answers(tasks.of(model.spec).name, logits)[0]
        self._guesses: list[Mapping[str, Any]] = [
            {"label": label, self._what: value} for label, value in guesses(model, logits, TOP)
        ]

    def to_json(self) -> dict[str, Any]:
        return {"top": self._guesses}

    def lines(self) -> Iterator[str]:
        for guess in self._guesses:
            value = guess[self._what]
            shown = f"{100 * value:6.2f}%" if self._what == "probability" else f"{value:7.3f}"
            yield f"{shown}  {guess['label']}"


def class_name(model: Model, label: int) -> str:
    """The label's name, or "class 3" where the model has no names."""
    return model.labels[label] if label < len(model.labels) else f"class {label}"
