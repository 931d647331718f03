"""`model.tag`: spans of a text with labels, such as names of persons and places.

Shapes: T tokens of a text, K labels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from zoo.tasks.answers import class_name
from zoo.tasks.metrics import choices
from zoo.tasks.tags import ENDS, OUTSIDE, STARTS, parted
from zoo.text.native import TextError
from zoo.text.verbs import answering, check_count
from zoo.text.windows import Window, Windows, logits_of


def tag(
    model: Any,
    texts: str | Sequence[str],
    *,
    window: int | None = None,
    stride: int | None = None,
    batch_size: int = 32,
) -> Any:
    """Find the spans of texts that have a label.

    Neighbouring tokens of one label are a span, unless the later one begins with "B-"; those of the label "O" are in
    none. A long text goes through in windows that overlap, and each token is labelled where most is around it.

    Args:
        texts (str | Sequence[str]): a string, or a list of strings.
        window (int | None): tokens of a window. Default: None, as many as the network takes.
        stride (int | None): tokens that two windows share. Default: None, 128, or half of a small window.
        batch_size (int): windows that go through the network together. Default: 32.

    Returns:
        A list of dicts {"label", "score", "text", "start", "end"}, in their order: the label without "B-" and "I-", the
        mean probability of the span's tokens, and its characters. For a list of texts, such a list for each.

    Raises:
        ValueError: something is no text, or the tokenizer is missing or another network's.

    Example:
        >>> model = zoo.load("a token classifier")  # doctest: +SKIP
        >>> model.tag("Ada lives in London.")  # doctest: +SKIP
        [{'label': 'PER', 'score': 0.99..., 'text': 'Ada', 'start': 0, 'end': 3}, ...]
    """
    many: list[Any] = list(texts) if isinstance(texts, list) else [texts]
    for text in many:
        if not isinstance(text, str):
            raise TextError(f"A text is a string, and several come in a list, not {text!r}.")
    found = [
        [*_spans(model, text, *one)]
        for text, one in zip(many, labelled(model, many, window, stride, batch_size), strict=True)
    ]
    return found if isinstance(texts, list) else found[0]


def labelled(
    model: Any, texts: Sequence[str], window: int | None = None, stride: int | None = None, batch_size: int = 32
) -> list[tuple[list[tuple[int, int]], Tensor]]:
    """(characters of each token, scores (T, K)) of each text."""
    check_count("batch_size", batch_size)
    windows = Windows(model.spec, model.tokenizer, window, stride)
    cut = windows.of(texts)
    with answering(model):
        scored = logits_of(model, [one for of_text in cut for one in of_text], windows.prepare, batch_size)
        return [_joined([(one, next(scored)) for one in of_text]) for of_text in cut]


def words(model: Any, examples: Sequence[Sequence[str]]) -> list[list[str]]:
    """The label of every word of some lists of words: that of its first token; "O" for a word without one."""
    texts = [" ".join(example) for example in examples]
    found = []
    for example, (offsets, scores) in zip(examples, labelled(model, texts), strict=True):
        names = [class_name(model, int(one)) for one in choices(scores)] if len(offsets) else []
        of_words, place, start = [], 0, 0
        for word in example:
            while place < len(offsets) and offsets[place][1] <= start:
                place += 1
            inside = place < len(offsets) and offsets[place][0] < start + len(word)
            of_words.append(names[place] if inside else OUTSIDE)
            start += len(word) + 1
        found.append(of_words)
    return found


def _joined(windows: Sequence[tuple[Window, Tensor]]) -> tuple[list[tuple[int, int]], Tensor]:
    """Each token as the window has it in which it is the farthest from an end that is not the text's."""
    if not windows:
        return [], torch.zeros(0, 1)
    total = windows[0][0].total
    offsets: list[tuple[int, int]] = [(0, 0)] * total
    rows, best = torch.zeros(total, windows[0][1].shape[1], dtype=torch.float64), torch.full((total,), -1)
    for one, scores in windows:
        count, last = len(one.offsets), one.first + len(one.offsets) == one.total
        at = torch.arange(count)
        before = at if one.first else torch.full_like(at, total)
        behind = torch.full_like(at, total) if last else count - 1 - at
        around = torch.minimum(before, behind)
        better = around > best[one.tokens]
        rows[one.tokens][better] = scores[one.place][better]
        best[one.tokens][better] = around[better]
        offsets[one.tokens] = one.offsets
    return offsets, rows


def _spans(model: Any, text: str, offsets: Sequence[tuple[int, int]], scores: Tensor) -> Iterator[dict[str, Any]]:
    if not len(offsets):
        return
    likeliest = scores.softmax(-1).max(-1).values.tolist()
    parts = [parted(class_name(model, int(one))) for one in choices(scores)]
    begin = 0
    for place, (prefix, label) in enumerate(parts):
        behind = parts[place + 1] if place + 1 < len(parts) else (OUTSIDE, "")
        if behind[1] == label and behind[0] not in STARTS and prefix not in ENDS:
            continue
        if prefix != OUTSIDE:
            start, end = _trimmed(text, offsets[begin][0], offsets[place][1])
            score = sum(likeliest[begin : place + 1]) / (place + 1 - begin)
            yield {"label": label, "score": score, "text": text[start:end], "start": start, "end": end}
        begin = place + 1


def _trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    """Without the blank before a word that some tokenizers count to its first token."""
    inner = text[start:end]
    return start + len(inner) - len(inner.lstrip()), end - (len(inner) - len(inner.rstrip()))


class Spans:
    """The spans of one text."""

    def __init__(self, found: Sequence[dict[str, Any]]) -> None:
        self._found = found

    def to_json(self) -> dict[str, Any]:
        return {"spans": list(self._found)}

    def lines(self) -> Iterator[str]:
        for one in self._found:
            yield f"{100 * one['score']:6.2f}%  {one['label']}  {one['text']}  ({one['start']}-{one['end']})"
        if not self._found:
            yield "nothing is labelled"


def shown(model: Any, text: str) -> Spans:
    """The spans of one text, as `zoo predict` shows them."""
    return Spans(tag(model, text))
