"""Figures of a network on examples with targets, a class a kind of answer. A task names the one that judges it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from torch import Tensor


class Judge(Protocol):
    """Sees batches of answers beside what would be right, then tells the figures."""

    def add(self, outputs: Tensor, targets: Sequence[Any]) -> None:
        """One batch: the network's main output, and the target of each example."""

    def seen(self) -> Any:
        """What it has seen, in a form that another process can `join` to its own."""

    def join(self, seen: Any) -> None:
        """Add what a judge of the same kind has seen on another process."""

    def figures(self) -> Mapping[str, float]:
        """Every figure by the name of its metric; the task's main one first."""

    def per_class(self) -> Mapping[int, float]:
        """The main figure of each class; empty where there are no classes."""


def choices(outputs: Tensor) -> np.ndarray:
    """The class that each example, or each token, gets: the place of the largest output, (..., K) to (...)."""
    return outputs.argmax(-1).cpu().numpy()


def percent_equal(one: np.ndarray, other: np.ndarray | int) -> float:
    """Of answers with labels, the accuracy; of answers with other answers, the agreement."""
    return 100 * float((one == other).mean())


class Accuracy:
    """Share of the examples, in percent, whose largest output is the right class."""

    def __init__(self, metric: str, source: str) -> None:
        self._metric, self._source = metric, source
        self._labels: list[np.ndarray] = []
        self._answers: list[np.ndarray] = []

    def add(self, outputs: Tensor, targets: Sequence[int]) -> None:
        classes = outputs.shape[1]
        if outside := [label for label in targets if not 0 <= label < classes]:
            raise ValueError(f"{self._source} has label {outside[0]}, but the network knows only 0 to {classes - 1}.")
        self._labels.append(np.array(targets, dtype=np.int64))
        self._answers.append(choices(outputs))

    def seen(self) -> Any:
        return self._labels, self._answers

    def join(self, seen: Any) -> None:
        self._labels += seen[0]
        self._answers += seen[1]

    @property
    def labels(self) -> np.ndarray:
        return np.concatenate(self._labels)

    @property
    def answers(self) -> np.ndarray:
        return np.concatenate(self._answers)

    def figures(self) -> dict[str, float]:
        return {self._metric: percent_equal(self.labels, self.answers)}

    def per_class(self) -> dict[int, float]:
        labels, answers = self.labels, self.answers
        return {int(one): percent_equal(answers[labels == one], one) for one in np.unique(labels)}
