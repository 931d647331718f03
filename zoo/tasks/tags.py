"""Labels of tokens: their targets, and the figures of spans as seqeval counts them (Nakayama, 2018)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from zoo import kinds
from zoo.data.parquet import ParquetFiles
from zoo.tasks.answers import class_name
from zoo.tasks.targets import Targets

OUTSIDE = "O"  # the label of tokens in no span
STARTS, ENDS = ("B", "S"), ("E", "S")  # prefixes of the first token of a span, of the last, and of an only one
PREFIXES = ("I", *STARTS, *ENDS)


def parted(name: str) -> tuple[str, str]:
    """("B", "PER") of "B-PER"; a label without a prefix is inside of a span of its own kind."""
    if name == OUTSIDE:
        return OUTSIDE, OUTSIDE
    prefix, dash, rest = name.partition("-")
    return (prefix, rest) if dash and prefix in PREFIXES else ("I", name)


def spans(tags: Sequence[str]) -> set[tuple[str, int, int]]:
    """(label, first token, last token) of every span, by seqeval's rule, which takes any order of prefixes."""
    found, begin = set(), 0
    before = (OUTSIDE, OUTSIDE)
    for place, name in enumerate([*tags, OUTSIDE]):
        now = parted(name)
        changed = before[1] != now[1]
        if before[0] != OUTSIDE and (changed or before[0] in ENDS or now[0] in (*STARTS, OUTSIDE)):
            found.add((before[1], begin, place - 1))
        if now[0] != OUTSIDE and (changed or now[0] in STARTS or before[0] in (*ENDS, OUTSIDE)):
            begin = place
        before = now
    return found


class Tags(Targets):
    """Reads a label for every word, as names or as numbers, into the network's names."""

    usual = ("ner_tags", "tags", "labels", "pos_tags", "chunk_tags")

    def of_table(self, table: ParquetFiles, column: str | None) -> list[list[str]]:
        name = table.column("label", column, self.usual, "Sequence")
        inner = table.features.get(name, {}).get("feature", {})
        own = inner.get("names") if isinstance(inner, dict) else None
        cells = [cell for batch in table.cells([name]) for cell in batch.column(name).to_pylist()]
        return self._read(cells, tuple(own or ()), table.where)

    def in_memory(self, targets: Any, count: int) -> list[list[str]]:
        found = list(targets)
        if len(found) != count:
            raise ValueError(f"labels are {count} lists, one for each list of words, not {len(found)}.")
        return self._read(found, (), "The labels given")

    def _read(self, cells: Sequence[Any], own: tuple[str, ...], where: str) -> list[list[str]]:
        known = self.model.labels or tuple(
            class_name(self.model, number) for number in range(kinds.outputs(self.model.spec))
        )
        by_number = own or known
        right = {name.casefold(): name for name in known}
        found = []
        for row, cell in enumerate(cells):
            given = from_text(cell)
            if not isinstance(given, (list, tuple)):
                raise ValueError(f"{where} has no list of labels in row {row}.")
            names = []
            for one in given:
                if isinstance(one, int) and not isinstance(one, bool) and 0 <= one < len(by_number):
                    one = by_number[one]
                if not isinstance(one, str) or one.casefold() not in right:
                    raise ValueError(
                        f"{where} has the label {one!r} in row {row}, and the network knows {', '.join(known[:12])}"
                        f"{', ...' if len(known) > 12 else ''}."
                    )
                names.append(right[one.casefold()])
            found.append(names)
        return found


def from_text(cell: Any) -> Any:
    """A cell of CSV that holds JSON, as what it holds; any other cell as it is."""
    if isinstance(cell, str) and cell.lstrip()[:1] in ("[", "{"):
        try:
            return json.loads(cell)
        except (ValueError, RecursionError):
            return cell
    return cell


class SpanMetrics:
    """F1 of spans: right ones have the right label and the right first and last word. And the accuracy of words."""

    def __init__(self, metric: str, source: str) -> None:
        self._metric, self._source = metric, source
        self._right, self._found, self._there = 0, 0, 0
        self._equal, self._words, self._examples = 0, 0, 0

    def add(self, outputs: Sequence[Sequence[str]], targets: Sequence[Sequence[str]]) -> None:
        for found, wanted in zip(outputs, targets, strict=True):
            if len(found) != len(wanted):
                raise ValueError(
                    f"{self._source} has {len(wanted)} labels for {len(found)} words, in the example number "
                    f"{self._examples}."
                )
            ours, theirs = spans(found), spans(wanted)
            self._right += len(ours & theirs)
            self._found += len(ours)
            self._there += len(theirs)
            self._equal += sum(one == other for one, other in zip(found, wanted, strict=True))
            self._words += len(wanted)
            self._examples += 1

    def seen(self) -> Any:
        return self._right, self._found, self._there, self._equal, self._words, self._examples

    def join(self, seen: Any) -> None:
        both = [own + other for own, other in zip(self.seen(), seen, strict=True)]
        self._right, self._found, self._there, self._equal, self._words, self._examples = both

    def figures(self) -> dict[str, float]:
        """F1 is 0 where no span is right."""
        f1 = 200 * self._right / max(1, self._found + self._there)
        precision, recall = (100 * self._right / max(1, of) for of in (self._found, self._there))
        accuracy = 100 * self._equal / max(1, self._words)
        return {self._metric: f1, "accuracy": accuracy, "precision": precision, "recall": recall}

    def per_class(self) -> dict[int, float]:
        return {}
