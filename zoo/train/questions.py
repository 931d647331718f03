"""Questions for training: each with its context in windows, and where its answer lies in them.

Shapes: Q questions, W windows in all, B windows of a batch, T tokens of the longest of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from zoo.data.text_tables import text_table
from zoo.data.texts import text_columns
from zoo.tasks.questions import Answers
from zoo.tasks.tags import from_text
from zoo.text.windows import USUAL, Window, Windows
from zoo.train.ragged import Ragged, by_length
from zoo.train.texts import OpenTexts, TextSet


@dataclass(frozen=True, kw_only=True)
class QuestionSet(TextSet):
    """Questions with the windows of their contexts. An example is a question, so no two parts of data share one.

    Args:
        labels (Tensor): the first and the last token of the answer in each window, (W, 2); 0 where it has none.
        starts (Tensor): the first window of each question, and the end, (Q + 1,).
    """

    starts: Tensor

    def __len__(self) -> int:
        return len(self.examples)

    def take(self, index: Tensor) -> QuestionSet:
        windows = self._windows(index)
        lengths = torch.cat([self.starts.new_zeros(1), self.starts.diff()[index]])
        chosen = index.tolist()
        return replace(
            self,
            parts={name: part.take(windows) for name, part in self.parts.items()},
            labels=self.labels[windows],
            starts=lengths.cumsum(0),
            examples=tuple(self.examples[one] for one in chosen),
            references=tuple(self.references[one] for one in chosen),
        )

    def order(self, generator: torch.Generator) -> Tensor:
        """All questions (Q,) in a random order of batches, each of windows of like length."""
        lengths = self.parts["input_ids"].lengths
        longest = torch.stack([lengths[start:end].max() for start, end in self.starts.unfold(0, 2, 1).tolist()])
        return by_length(longest, self.batch, generator)

    def stream(self, batches: Sequence[Tensor], seed: int) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
        """(what the call takes, by name (B, T); targets (B, 2)) of all windows of the questions of an index tensor."""
        yield from super().stream([self._windows(index) for index in batches], seed)

    def _windows(self, index: Tensor) -> Tensor:
        ranges = [torch.arange(int(self.starts[one]), int(self.starts[one + 1])) for one in index.tolist()]
        return torch.cat([torch.zeros(0, dtype=torch.int64), *ranges])


def answered(opened: OpenTexts, classes: tuple[str, ...]) -> QuestionSet:
    """The questions of a table with SQuAD's columns. Those whose answer is not in their context are left out."""
    where, spec = opened.where, opened.spec
    if not isinstance(opened.part, list):
        raise ValueError(f"{where}: questions of a data set of the Hub are not read; give its Parquet files.")
    table = text_table(opened.part, where)
    columns = text_columns(table.columns, opened.input_columns, where, (("question", "context"),))
    answers = table.column("label", opened.label_column, Answers.usual, "Sequence")
    rows = [
        (question, context, from_text(cell))
        for batch in table.cells([*columns, answers])
        for question, context, cell in zip(
            *(batch.column(name).to_pylist() for name in (*columns, answers)), strict=True
        )
    ]
    windows = Windows(spec, opened.tokenizer, min(USUAL, opened.length))
    kept, skipped, spans = list[tuple[str, str]](), list[str](), list[tuple[int, int] | None]()
    for number, (question, context, cell) in enumerate(rows):
        try:
            spans.append(_characters(context, cell))
            kept.append((question, context))
        except (LookupError, TypeError, ValueError, AttributeError):
            skipped.append(f"row {number}")
    if not kept:
        raise ValueError(
            f"{where} has no question whose answer is in its context: {answers!r} has {{'text', 'answer_start'}}."
        )
    cut = windows.of(kept)
    every = [one for of_pair in cut for one in of_pair]
    places = [_tokens(one, span) for of_pair, span in zip(cut, spans, strict=True) for one in of_pair]
    parts = {"input_ids": Ragged.of([one.ids for one in every])}
    if windows.prepare.types:
        parts["token_type_ids"] = Ragged.of([one.types for one in every])
    return QuestionSet(
        parts,
        torch.tensor(places),
        opened.source,
        table.sha256(),
        spec.texts.padding,
        skipped=tuple(skipped),
        starts=torch.tensor([0, *map(len, cut)]).cumsum(0),
        examples=tuple(kept),
        references=tuple(
            (context[span[0] : span[1]],) if span else () for (_, context), span in zip(kept, spans, strict=True)
        ),
    )


def _characters(context: str, cell: Mapping[str, Any]) -> tuple[int, int] | None:
    """Where the first answer lies in the context; None where there is none. Raises ValueError for one not there."""
    texts, starts = list(cell["text"]), list(cell["answer_start"])
    if not texts:
        return None
    text, start = texts[0], int(starts[0])
    if context[start : start + len(text)] != text:
        start = context.index(text)  # counted in bytes, or from another version of the context
    if not text.strip():
        raise ValueError("an empty answer")
    return start, start + len(text)


def _tokens(window: Window, span: tuple[int, int] | None) -> tuple[int, int]:
    """The first and the last token of the answer in the window; 0 and 0, a token of no text, where it is not whole."""
    if span is None:
        return 0, 0
    first = [place for place, (start, end) in enumerate(window.offsets) if start <= span[0] < end or start >= span[0]]
    last = [place for place, (start, end) in enumerate(window.offsets) if end >= span[1] and start < end]
    if not first or not last or window.offsets[0][0] > span[0] or last[0] < first[0]:
        return 0, 0
    return window.start + first[0], window.start + last[0]
