"""Find the columns of a table with the text for a network."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

# The names in well-known data sets: SST-2, IMDB, MNLI, MRPC, QQP, QNLI, BoolQ, ...
PAIRS = (
    ("sentence1", "sentence2"),
    ("premise", "hypothesis"),
    ("question1", "question2"),
    ("question", "sentence"),
    ("question", "passage"),
    ("query", "passage"),
    ("text1", "text2"),
    ("text_a", "text_b"),
)
SINGLE = ("text", "sentence", "content", "review")


def text_columns(
    columns: Sequence[str], given: Sequence[str], where: str, usual: Sequence[tuple[str, ...]] = ()
) -> tuple[str, ...]:
    """The column of a text, or the two columns of a pair: the columns given, else columns with well-known names.

    `usual`: the names that a task has instead. Raises ValueError if there is none.
    """
    known = f"a text is in {', '.join(map(repr, SINGLE))}, a pair in " + ", ".join("/".join(pair) for pair in PAIRS)
    if given:
        missing = [name for name in given if name not in columns]
        if missing or len(given) > 2:
            raise ValueError(f"{where} has no columns {list(given)} of one text or a pair; it has {list(columns)}.")
        return tuple(given)
    if usual:
        if (found := next((names for names in usual if set(names) <= set(columns)), None)) is None:
            wanted = " or ".join("/".join(names) for names in usual)
            raise ValueError(f"{where} has no {wanted}; it has {list(columns)}. Name the input columns.")
        return found
    for pair in PAIRS:
        if set(pair) <= set(columns):
            return pair
    for name in SINGLE:
        if name in columns:
            return (name,)
    raise ValueError(f"{where} has no column of texts: {known}; it has {list(columns)}. Name the input columns.")


# Texts and their translations in well-known data sets; of other tables with two columns the first is the text.
TRANSLATIONS = (("source", "target"), ("src", "tgt"), ("input", "output"), ("text", "translation"))


def translation_columns(columns: Sequence[str], where: str) -> tuple[str, str]:
    """The columns of texts and of their translations; raises ValueError if neither names nor number tell them."""
    for pair in TRANSLATIONS:
        if set(pair) <= set(columns):
            return pair
    if len(columns) == 2:
        return columns[0], columns[1]
    raise ValueError(
        f"{where} has the columns {list(columns)}, and texts with their translations are in two: name the input column "
        "and the label column."
    )


def texts_of(rows: Sequence[Any]) -> Iterator[Any]:
    """The text of each row: a string, a tuple for a pair, or None if a value is missing."""
    for cells in zip(*rows, strict=True):
        whole = all(isinstance(cell, str) for cell in cells)
        yield (cells[0] if len(cells) == 1 else cells) if whole else None


def words_of(rows: Sequence[Any]) -> Iterator[list[str] | None]:
    """The list of words of each row, in CSV as JSON; None where there is none."""
    for (cell,) in zip(*rows, strict=True):
        if isinstance(cell, str) and cell.lstrip().startswith("["):
            with suppress(ValueError, RecursionError):
                cell = json.loads(cell)
        whole = isinstance(cell, list) and bool(cell) and all(isinstance(word, str) for word in cell)
        yield cell if whole else None
