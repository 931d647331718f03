"""Texts with their translations for training.

Shapes: N texts in all, B in a batch, M tokens of the longest text, T of the longest translation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor

from zoo.data import hub
from zoo.data.text_tables import text_table
from zoo.data.texts import translation_columns
from zoo.data.void import NO_TOKEN
from zoo.train.ragged import Ragged
from zoo.train.texts import RAW, OpenTexts, TextSet


@dataclass(frozen=True, kw_only=True)
class TranslationSet(TextSet):
    """Tokenized texts and translations.

    Args:
        targets (Ragged): the tokens of the translations, each with its end.
        start (int): the token that a target starts with.
        length (int): the most tokens of a text or a translation.
    """

    targets: Ragged
    start: int
    length: int

    def take(self, index: Tensor) -> Self:
        return replace(super().take(index), targets=self.targets.take(index))

    def behind(self, other: Self) -> Self:
        """The examples of `other`, and then these."""
        parts = {name: part.behind(other.parts[name]) for name, part in self.parts.items()}
        raw: dict[str, Any] = {name: (*getattr(other, name), *getattr(self, name)) for name in RAW}
        labels = torch.arange(len(other) + len(self))
        return replace(self, parts=parts, labels=labels, targets=self.targets.behind(other.targets), **raw)

    def stream(self, batches: Sequence[Tensor], seed: int) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
        """(what the call takes, by name; the token behind each of the target, -100 at padding, (B, T))."""
        for index in batches:
            wanted = self.targets.padded(index, NO_TOKEN)
            there = wanted != NO_TOKEN
            given = wanted.roll(1, 1).masked_fill(~there, self.padding)
            given[:, 0] = self.start
            yield (
                {**self.inputs(index), "decoder_input_ids": given, "decoder_attention_mask": there.long()},
                wanted,
            )


def translations(opened: OpenTexts, classes: tuple[str, ...]) -> TranslationSet:
    """The texts of a table whose two columns are there and short enough; the others are left out and counted."""
    where, spec = opened.where, opened.spec
    if isinstance(opened.part, list):
        table: Any = text_table(opened.part, where)
        names, sha256 = list(table.columns), table.sha256()
    else:
        table, names, sha256 = opened.part, list(opened.part.features), hub.digest(opened.part)
    columns = _columns(opened, names)
    if isinstance(opened.part, list):
        batches = table.cells(columns)
        cells = [
            row for batch in batches for row in zip(*(batch.column(name).to_pylist() for name in columns), strict=True)
        ]
    else:
        cells = list(zip(*(table[name] for name in columns), strict=True))
    there = [place for place, row in enumerate(cells) if all(isinstance(one, str) and one.strip() for one in row)]
    if not there:
        raise ValueError(f"{where} holds no texts in {' and '.join(map(repr, columns))}.")
    texts, references = ([cells[place][side] for place in there] for side in (0, 1))
    sources = [one.ids for one in opened.prepare.encoded(texts)]
    targets = [one.ids for one in opened.prepare.encoded(references, target=True)]
    short = [at for at in range(len(there)) if max(len(sources[at]), len(targets[at])) <= opened.length]
    if not short:
        raise ValueError(f"{where}: every text or translation is longer than {opened.length} tokens.")
    kept = {there[at] for at in short}
    return TranslationSet(
        {"input_ids": Ragged.of([sources[at] for at in short])},
        torch.arange(len(short)),
        opened.source,
        sha256,
        spec.texts.padding,
        skipped=tuple(f"row {place}" for place in range(len(cells)) if place not in kept),
        targets=Ragged.of([targets[at] for at in short]),
        start=spec.texts.start,
        length=opened.length,
        examples=tuple(texts[at] for at in short),
        references=tuple(references[at] for at in short),
    )


def _columns(opened: OpenTexts, names: Sequence[str]) -> tuple[str, str]:
    given = (*opened.input_columns, *([opened.label_column] if opened.label_column else []))
    if not given:
        return translation_columns(names, opened.where)
    if missing := [name for name in given if name not in names]:
        raise ValueError(f"{opened.where} has no column {missing[0]!r}; it has {list(names)}.")
    if len(given) != 2:
        raise ValueError(f"{opened.where}: a text and its translation are in two columns, not in {list(given)}.")
    return given[0], given[1]
