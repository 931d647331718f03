"""`model.answer`: the part of a context that answers a question.

Shapes: N tokens of a window, T of a context, L of the longest answer.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.text.native import TextError
from zoo.text.verbs import answering, check_count
from zoo.text.windows import USUAL, Window, Windows, logits_of

LONGEST = 64  # tokens of an answer
SPARE = 20  # spans that are looked at beside those wanted: two of tokens may be one of characters


@dataclass(frozen=True)
class Found:
    """What a network finds in a context.

    Args:
        context (str): the text.
        spans (tuple[tuple[int, int, float], ...]): (first character, the one behind the last, score), the best first.
        total (float): the logarithm of the sum of exp(score) over all spans.
        empty (float): the score of no answer, the smallest of all windows.
    """

    context: str
    spans: tuple[tuple[int, int, float], ...]
    total: float
    empty: float

    def is_empty(self, threshold: float = 0.0) -> bool:
        """Whether no answer scores higher than the best one by more than `threshold`."""
        return not self.spans or self.empty - self.spans[0][2] > threshold

    @property
    def text(self) -> str:
        """The best span."""
        return self.context[self.spans[0][0] : self.spans[0][1]] if self.spans else ""

    def told(self, count: int, allow_empty: bool, threshold: float) -> list[dict[str, Any]]:
        total = (
            float(torch.logaddexp(torch.tensor(self.total), torch.tensor(self.empty))) if allow_empty else self.total
        )
        found = [
            (score, {"answer": self.context[start:end], "start": start, "end": end, "score": math.exp(score - total)})
            for start, end, score in self.spans
        ]
        if allow_empty:
            nothing = {"answer": "", "start": 0, "end": 0, "score": math.exp(self.empty - total)}
            found.append((self.empty - threshold, nothing))
            found.sort(key=lambda one: (-one[0], bool(one[1]["answer"])))
            if not self.is_empty(threshold) and not found[0][1]["answer"]:  # as high as the best one, not higher
                found[0], found[1] = found[1], found[0]
        return [one for _, one in found[:count]]


def answer(
    model: Any,
    question: str | Sequence[str],
    context: str | Sequence[str],
    *,
    top_k: int = 1,
    allow_empty: bool = False,
    null_threshold: float = 0.0,
    max_answer_length: int = LONGEST,
    window: int | None = None,
    stride: int | None = None,
    batch_size: int = 32,
) -> Any:
    """Find the part of a context that answers a question.

    A context of any length goes through in windows that overlap; the best span of all windows is the answer. Scores are
    probabilities among all spans of up to `max_answer_length` tokens.

    Args:
        question (str | Sequence[str]): a string, or a list of strings.
        context (str | Sequence[str]): a string, or a list of strings. One string beside a list goes with each of it.
        top_k (int): how many answers. Default: 1.
        allow_empty (bool): whether there may be no answer, as in SQuAD 2: then the answer is "". For networks that
            have learned it. Default: False.
        null_threshold (float): the answer is empty if the score of none is above that of the best span by more than
            this, in logits. Default: 0.0.
        max_answer_length (int): the most tokens of an answer. Default: 64.
        window (int | None): tokens of a window. Default: None, 384, or as many as the network takes.
        stride (int | None): tokens of the context that two windows share. Default: None, 128, or half of what a window
            has room for.
        batch_size (int): windows that go through the network together. Default: 32.

    Returns:
        A dict {"answer", "start", "end", "score"}, whose characters are those of the context; for `top_k` above 1 a
        list of them, the best first; for lists a list with one of these each.

    Raises:
        ValueError: a question or a context is empty, a question leaves no room for its context, or the tokenizer is
            missing or another network's.

    Example:
        >>> model = zoo.load("a network for question answering")  # doctest: +SKIP
        >>> model.answer("Who reads it?", "Our partners read it.")  # doctest: +SKIP
        {'answer': 'Our partners', 'start': 0, 'end': 12, 'score': 0.9...}
    """
    check_count("top_k", top_k)
    proper = isinstance(null_threshold, (int, float)) and not isinstance(null_threshold, bool)
    if not proper or not math.isfinite(null_threshold):
        raise ValueError(f"null_threshold= is a finite number, not {null_threshold!r}.")
    if null_threshold and not allow_empty:
        raise ValueError("null_threshold= is for allow_empty=True.")
    pairs = _pairs(question, context)
    options = {"max_answer_length": max_answer_length, "window": window, "stride": stride, "batch_size": batch_size}
    found = found_in(model, pairs, top_k=top_k, needs_empty=allow_empty, **options)  # type: ignore[arg-type]
    for one in found:
        if not one.spans:
            raise TextError("There is not one token in a context, so there is nothing to answer with.")
    told = [one.told(top_k, allow_empty, float(null_threshold)) for one in found]
    given = told if top_k > 1 else [one[0] for one in told]
    return given[0] if isinstance(question, str) and isinstance(context, str) else given


def _pairs(question: Any, context: Any) -> list[tuple[str, str]]:
    lists = [[one] if isinstance(one, str) else one for one in (question, context)]
    for name, given in zip(("question", "context"), lists, strict=True):
        if not isinstance(given, (list, tuple)) or not all(isinstance(one, str) for one in given):
            raise TextError(f"A {name} is a string, and several are a list of strings, not {given!r}.")
        if not given:
            raise TextError(f"No {name} was given.")
        if any(not one.strip() for one in given):
            raise TextError(f"A {name} is empty.")
    questions, contexts = lists
    if isinstance(question, str):
        questions = questions * len(contexts)
    if isinstance(context, str):
        contexts = contexts * len(questions)
    if len(questions) != len(contexts):
        raise TextError(f"There are {len(questions)} questions and {len(contexts)} contexts: one each, or one for all.")
    return list(zip(questions, contexts, strict=True))


def found_in(
    model: Any,
    pairs: Sequence[tuple[str, str]],
    *,
    top_k: int = 1,
    needs_empty: bool = False,
    max_answer_length: int = LONGEST,
    window: int | None = None,
    stride: int | None = None,
    batch_size: int = 32,
) -> list[Found]:
    """What the network finds for each (question, context)."""
    check_count("max_answer_length", max_answer_length)
    check_count("batch_size", batch_size)
    length = min(USUAL, model.spec.texts.length) if window is None else window
    windows = Windows(model.spec, model.tokenizer, length, stride)
    cut = windows.of(pairs)
    if needs_empty and any(not one.special for of_pair in cut for one in of_pair):
        raise TextError("allow_empty= needs a tokenizer that puts a token of its own before the question.")
    every = [one for of_pair in cut for one in of_pair]
    with answering(model):
        scored = logits_of(model, every, windows.prepare, batch_size)
        return [
            _best(context, [(one, next(scored)) for one in of_pair], top_k, max_answer_length)
            for (_, context), of_pair in zip(pairs, cut, strict=True)
        ]


def _best(context: str, windows: Sequence[tuple[Window, Tensor]], count: int, longest: int) -> Found:
    if not windows:
        return Found(context, (), -math.inf, 0.0)
    total = windows[0][0].total
    longest = min(longest, total)
    band = torch.full((total, longest), -math.inf, dtype=torch.float64)  # of a first token, and how many follow
    offsets: list[tuple[int, int]] = [(0, 0)] * total
    for one, scores in windows:
        starts, ends = scores[one.place].unbind(-1)
        spans = starts[:, None] + F.pad(ends, (0, longest - 1), value=-math.inf).unfold(0, longest, 1)
        band[one.tokens] = torch.maximum(band[one.tokens], spans)  # a span in two windows has the better score
        offsets[one.tokens] = one.offsets
    empty = min(float(scores[0].sum()) for _, scores in windows)
    flat = band.flatten()
    size = min(len(flat), count + SPARE)
    found = list(_characters(context, offsets, flat, size, longest))
    while len(found) < count and size < len(flat):
        size = min(len(flat), 4 * size)
        found = list(_characters(context, offsets, flat, size, longest))
    return Found(context, tuple(found[:count]), float(flat.logsumexp(0)), empty)


def _characters(
    context: str, offsets: Sequence[tuple[int, int]], flat: Tensor, size: int, longest: int
) -> Iterator[tuple[int, int, float]]:
    """(first character, the one behind the last, score) of the best spans, each once, without blanks around it."""
    top = flat.topk(size)
    seen = set[tuple[int, int]]()
    for score, place in zip(top.values.tolist(), top.indices.tolist(), strict=True):
        first, more = divmod(place, longest)
        if score == -math.inf:
            return
        start, end = offsets[first][0], offsets[first + more][1]
        inner = context[start:end]
        start, end = start + len(inner) - len(inner.lstrip()), end - (len(inner) - len(inner.rstrip()))
        if start < end and (start, end) not in seen:
            seen.add((start, end))
            yield start, end, score
