"""Answers to questions: their targets, and SQuAD's figures (Rajpurkar et al., 2016; without an answer: 2018)."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from zoo.data.parquet import ParquetFiles
from zoo.tasks.tags import from_text
from zoo.tasks.targets import Targets

_MARKS = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(a|an|the)\b")


def plain(text: str) -> str:
    """A text as SQuAD compares it: small letters, without marks, articles and blanks beside one another."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_MARKS)).split())


def overlap(found: str, wanted: str) -> float:
    """F1 of the words of two answers."""
    ours, theirs = plain(found).split(), plain(wanted).split()
    if not ours or not theirs:
        return float(ours == theirs)
    common = sum((Counter(ours) & Counter(theirs)).values())
    return 2 * common / (len(ours) + len(theirs))


class Answers(Targets):
    """Reads the right answers of every question: a tuple of texts, empty where there is no answer.

    A cell is what SQuAD has, {"text": [...], "answer_start": [...]}, in CSV as JSON; a list of texts; or one text.
    """

    usual = ("answers", "answer")

    def of_table(self, table: ParquetFiles, column: str | None) -> list[tuple[str, ...]]:
        name = table.column("label", column, self.usual, "Sequence")
        cells = [cell for batch in table.cells([name]) for cell in batch.column(name).to_pylist()]
        return [_texts(cell, row, table.where) for row, cell in enumerate(cells)]

    def in_memory(self, targets: Any, count: int) -> list[tuple[str, ...]]:
        found = list(targets)
        if len(found) != count:
            raise ValueError(f"labels are the answers to {count} questions, not {len(found)}.")
        return [_texts(one, row, "The labels given") for row, one in enumerate(found)]


def _texts(cell: Any, row: int, where: str) -> tuple[str, ...]:
    given = from_text(cell)
    if isinstance(given, Mapping) and "text" in given:
        given = given["text"]
    if isinstance(given, str):
        given = [given] if given else []
    if isinstance(given, (list, tuple)):
        given = [one.get("text") if isinstance(one, Mapping) else one for one in given]
        if all(isinstance(one, str) for one in given):
            return tuple(given)
    raise ValueError(
        f'{where} has no answers in row {row}: {{"text": [...], "answer_start": [...]}}, a list of texts, or a text.'
    )


class Guess(Protocol):
    """What a network finds: its best answer, and whether it would rather give none."""

    @property
    def text(self) -> str: ...

    def is_empty(self, threshold: float = 0.0) -> bool: ...


class AnswerMetrics:
    """F1 of words, and the share of exact matches, in percent: of each question, with the nearest right answer.

    Where some questions have no answer, the network may give none too. Otherwise it always answers.
    """

    def __init__(self, metric: str, source: str) -> None:
        self._metric, self._source = metric, source
        self._found: list[Guess] = []
        self._wanted: list[tuple[str, ...]] = []

    def add(self, outputs: Sequence[Guess], targets: Sequence[tuple[str, ...]]) -> None:
        self._found += outputs
        self._wanted += targets

    def seen(self) -> Any:
        return self._found, self._wanted

    def join(self, seen: Any) -> None:
        self._found += seen[0]
        self._wanted += seen[1]

    def figures(self) -> dict[str, float]:
        wanted = [[one for one in answers if plain(one)] or [""] for answers in self._wanted]
        some_empty = any(answers == [""] for answers in wanted)
        texts = ["" if some_empty and one.is_empty() else one.text for one in self._found]
        f1 = [max(overlap(text, one) for one in answers) for text, answers in zip(texts, wanted, strict=True)]
        exact = [max(plain(text) == plain(one) for one in answers) for text, answers in zip(texts, wanted, strict=True)]
        count = max(1, len(texts))
        return {self._metric: 100 * sum(f1) / count, "exact match": 100 * sum(exact) / count}

    def per_class(self) -> dict[int, float]:
        return {}
