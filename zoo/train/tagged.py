"""Lists of words with a label each, for training.

Shapes: N windows in all, B in a batch, T tokens in the longest of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor

from zoo.data.classes import match
from zoo.data.text_tables import text_table
from zoo.data.texts import text_columns, words_of
from zoo.data.void import NO_TOKEN
from zoo.tasks.tags import OUTSIDE, Tags, from_text
from zoo.text.windows import Window, Windows
from zoo.train.ragged import Ragged
from zoo.train.texts import OpenTexts, TextSet

COLUMNS = (("tokens",), ("words",))


@dataclass(frozen=True, kw_only=True)
class TaggedSet(TextSet):
    """Texts whose words have labels. The first token of a word has its label; the others do not count.

    Args:
        tags (Ragged): a class for every token, -100 where it does not count.
    """

    tags: Ragged

    def take(self, index: Tensor) -> Self:
        return replace(super().take(index), tags=self.tags.take(index))

    def stream(self, batches: Sequence[Tensor], seed: int) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
        """(what the call takes, by name; the class of every token (B, T)) for each of the index tensors."""
        for index in batches:
            yield self.inputs(index), self.tags.padded(index, NO_TOKEN)


def tagged(opened: OpenTexts, classes: tuple[str, ...]) -> TaggedSet:
    """The texts of a table with a list of words and one of labels a row. One that is too long is cut, and counted."""
    where, spec = opened.where, opened.spec
    if not isinstance(opened.part, list):
        raise ValueError(f"{where}: lists of words of a data set of the Hub are not read; give its Parquet files.")
    table = text_table(opened.part, where)
    (column,) = text_columns(table.columns, opened.input_columns, where, COLUMNS)
    label = table.column("label", opened.label_column, Tags.usual, "Sequence")
    texts, cells = list[Any](), list[Any]()
    for batch in table.cells([column, label]):
        texts += words_of([batch.column(column).to_pylist()])
        cells += map(from_text, batch.column(label).to_pylist())
    there = [row for row, (words, tags) in enumerate(zip(texts, cells, strict=True)) if _fits(words, tags, row, where)]
    if not there:
        raise ValueError(f"{where} holds no lists of words in {column!r}.")
    inner = table.features.get(label, {}).get("feature", {})
    own = tuple(inner.get("names") or ()) if isinstance(inner, dict) else ()
    numbers, known = _numbered([cells[row] for row in there], own, classes, where)
    windows = Windows(spec, opened.tokenizer, opened.length, 0)
    cut = windows.of([" ".join(texts[row]) for row in there])
    kept = [at for at, found in enumerate(cut) if found]
    return TaggedSet(
        {"input_ids": Ragged.of([cut[at][0].ids for at in kept])}
        | ({"token_type_ids": Ragged.of([cut[at][0].types for at in kept])} if windows.prepare.types else {}),
        torch.arange(len(kept)),
        opened.source,
        table.sha256(),
        spec.texts.padding,
        classes=known,
        named=bool(own) or isinstance(cells[there[0]][0], str),
        skipped=tuple(f"row {row}" for row in range(len(texts)) if row not in set(there)),
        cut=sum(len(cut[at]) > 1 for at in kept),
        tags=Ragged.of([_of_tokens(cut[at][0], texts[there[at]], numbers[at]) for at in kept]),
        examples=tuple(tuple(texts[there[at]]) for at in kept),
        references=tuple(tuple(known[one] for one in numbers[at]) for at in kept),
    )


def _fits(words: Any, tags: Any, row: int, where: str) -> bool:
    """Whether there are words; raises ValueError where their labels are not as many."""
    if not words:
        return False
    if not isinstance(tags, list) or len(tags) != len(words):
        found = len(tags) if isinstance(tags, list) else type(tags).__name__
        raise ValueError(f"{where} has {len(words)} words in row {row} and {found} labels: each needs one.")
    return True


def _numbered(
    cells: Sequence[list[Any]], own: tuple[str, ...], classes: tuple[str, ...], where: str
) -> tuple[list[list[int]], tuple[str, ...]]:
    """(the class of every word, in the numbers of `classes` where these are given; the names of the classes)."""
    used = {one for cell in cells for one in cell}
    if all(isinstance(one, str) for one in used):
        own = tuple(sorted(used, key=lambda name: (name != OUTSIDE, name.partition("-")[2], name)))
        places: dict[Any, int] = {name: number for number, name in enumerate(own)}
    elif all(isinstance(one, int) and not isinstance(one, bool) and one >= 0 for one in used):
        own = own or classes or tuple(str(one) for one in range(max(used) + 1))
        if wrong := sorted(one for one in used if one >= len(own)):
            raise ValueError(f"{where} has the label {wrong[0]}, and its classes are 0 to {len(own) - 1}.")
        places = {one: one for one in used}
    else:
        raise ValueError(f"{where}: labels of words are all numbers or all names.")
    if classes and own != classes:
        order = match(list(own), classes, where)
        places = {key: order[number] for key, number in places.items()}
        own = classes
    return [[places[one] for one in cell] for cell in cells], own


def _of_tokens(window: Window, words: Sequence[str], tags: Sequence[int]) -> list[int]:
    """The class of each token of the window: that of the word that begins in it."""
    found = [NO_TOKEN] * len(window.ids)
    begin, place = 0, 0
    for word, tag in zip(words, tags, strict=True):
        while place < len(window.offsets) and window.offsets[place][1] <= begin:
            place += 1
        if place < len(window.offsets) and window.offsets[place][0] < begin + len(word):
            found[window.start + place] = tag
        begin += len(word) + 1
    return found
