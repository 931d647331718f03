"""Texts for the training of networks that continue them: one long row of tokens, in pieces of one length.

Shapes: N pieces in all, B in a batch, T tokens of a piece.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from zoo.data import hub
from zoo.data.parquet import digest_of
from zoo.data.text_tables import text_table
from zoo.data.texts import text_columns, texts_of
from zoo.files import text_of
from zoo.train.texts import OpenTexts


@dataclass(frozen=True)
class Pieces:
    """Pieces of a long row of tokens, each of which is its own target. It has the protocol of `Pictures`.

    Args:
        tokens (Tensor): all texts, one behind another, int32.
        length (int): tokens of a piece.
        labels (Tensor): the numbers of the pieces that count (N,).
        source (str): a short name of the data.
        sha256 (str): the SHA-256 of the data.
        tokens_per_character (float): of the whole text.
        shifts (bool): whether pieces begin elsewhere in every epoch. Default: False.
        skipped (tuple[str, ...]): the names of the rows without a text. Default: none.
    """

    tokens: Tensor
    length: int
    labels: Tensor
    source: str
    sha256: str
    tokens_per_character: float
    shifts: bool = False
    skipped: tuple[str, ...] = ()

    classes = ()
    cut_at_random = False

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: Tensor) -> Pieces:
        """The pieces of `index`; they do not shift, so that none reads what another one keeps apart."""
        return replace(self, labels=self.labels[index], shifts=False)

    def stream(self, batches: Sequence[Tensor], seed: int) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
        """(what the call takes, targets (B, T)) for each of the index tensors; the shift depends on `seed` alone."""
        room = len(self.tokens) - self.length * (int(self.labels.max()) + 1)
        shift = 0
        if self.shifts:
            most = min(self.length, room + 1)
            shift = int(torch.randint(most, (), generator=torch.Generator().manual_seed(seed)))
        for index in batches:
            starts = self.labels[index] * self.length + shift
            ids = self.tokens[starts[:, None] + torch.arange(self.length)].long()
            yield {"input_ids": ids}, ids


def continued(opened: OpenTexts, classes: tuple[str, ...]) -> Pieces:
    """The texts of text files, or of the column of a table, each with the network's end behind it."""
    if classes:
        raise ValueError(f"{opened.spec.name} continues texts, which have no classes.")
    if opened.label_column:
        raise ValueError("label_column= is for texts with targets; a text that is continued is its own.")
    skipped: tuple[str, ...] = ()
    if not isinstance(opened.part, list):
        columns = text_columns(list(opened.part.features), opened.input_columns, opened.where)
        texts, sha256 = list(opened.part[columns[0]]), hub.digest(opened.part)
    elif opened.part[0].suffix.lower() == ".txt":
        texts, sha256 = [text_of(file, "a text to learn from") for file in opened.part], digest_of(opened.part)
    else:
        table = text_table(opened.part, opened.where)
        columns = text_columns(table.columns, opened.input_columns, opened.where)
        if len(columns) != 1:
            raise ValueError(f"{opened.where}: a text that is continued is in one column, not in {list(columns)}.")
        batches = (batch.column(columns[0]).to_pylist() for batch in table.cells(columns))
        texts, sha256 = [text for batch in batches for text in texts_of([batch])], table.sha256()
    skipped = tuple(f"row {place}" for place, text in enumerate(texts) if not text)
    parts, _ = opened.tokenized([text for text in texts if text])
    ends = torch.tensor(opened.spec.texts.ends[:1], dtype=torch.int32)
    rows = parts["input_ids"]
    tokens = torch.cat([one for row in rows.rows(torch.arange(len(rows.lengths))) for one in (row, ends)])
    count = len(tokens) // opened.length
    if not count:
        raise ValueError(
            f"{opened.where} has fewer tokens ({len(tokens):,}) than one piece ({opened.length:,}): give more text, or "
            "a smaller max_tokens=."
        )
    return Pieces(
        tokens,
        opened.length,
        torch.arange(count),
        opened.source,
        sha256,
        tokens_per_character=len(tokens) / sum(len(text) for text in texts if text),
        shifts=opened.split == "train",
        skipped=skipped,
    )
