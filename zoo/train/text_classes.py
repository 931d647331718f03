"""Texts, or pairs of texts, with a class each, for training."""

from __future__ import annotations

import torch

from zoo.data import hub
from zoo.data.parquet import LABELS
from zoo.data.text_tables import text_table
from zoo.data.texts import text_columns, texts_of
from zoo.train.data import agreed
from zoo.train.texts import OpenTexts, TextSet


def classified(opened: OpenTexts, classes: tuple[str, ...]) -> TextSet:
    """The texts that are there, with their classes, in the numbers of `classes` where these are given."""
    where = opened.where
    if isinstance(opened.part, list):
        table = text_table(opened.part, where)
        columns = text_columns(table.columns, opened.input_columns, where)
        label = table.column("label", opened.label_column, LABELS, "ClassLabel")
        cells = table.cells(columns)
        texts = [text for batch in cells for text in texts_of([batch.column(name).to_pylist() for name in columns])]
        numbers, own, sha256 = table.labels(label), table.class_names(label), table.sha256()
    else:
        columns = text_columns(list(opened.part.features), opened.input_columns, where)
        found = hub.read_texts(opened.part, columns, opened.label_column, where)
        texts = list(texts_of([found.table[name] for name in columns]))
        numbers, own, sha256 = found.labels, found.classes, found.sha256
    whole = [place for place, text in enumerate(texts) if text is not None]
    if not whole:
        raise ValueError(f"{where} holds no texts in {' and '.join(map(repr, columns))}.")
    labels, known = agreed(torch.from_numpy(numbers), own, classes, where)
    parts, cut = opened.tokenized([texts[place] for place in whole])
    return TextSet(
        parts,
        labels[whole],
        opened.source,
        sha256,
        opened.spec.texts.padding,
        classes=known,
        named=bool(own),
        skipped=tuple(f"row {place}" for place, text in enumerate(texts) if text is None),
        cut=cut,
    )
