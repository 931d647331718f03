"""Texts of any length in windows that a network takes at once. Neighbours overlap, so nothing is read without context.

Shapes: B windows, N tokens in the longest of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from zoo.model.finite import check_answer
from zoo.spec import ModelSpec
from zoo.text.native import TextError
from zoo.text.tokenizer import TextPreprocess, padded

USUAL = 384  # tokens of a window with a question, and
OVERLAP = 128  # how many of them are in the next one too (Devlin et al., 2019)


@dataclass(frozen=True)
class Window:
    """A part of a text as the network takes it.

    Args:
        ids (list[int]): its tokens, with those around the text.
        types (list[int]): the segment of each token.
        start (int): where the text's tokens begin in `ids`.
        first (int): how many tokens of the text are before the window.
        offsets (list[tuple[int, int]]): the characters of the text that each of its tokens here stands for.
        special (bool): whether the first token is none of a text, such as [CLS].
        total (int): how many tokens the whole text has.
    """

    ids: list[int]
    types: list[int]
    start: int
    first: int
    offsets: list[tuple[int, int]]
    special: bool
    total: int

    @property
    def place(self) -> slice:
        """The text's tokens among `ids`."""
        return slice(self.start, self.start + len(self.offsets))

    @property
    def tokens(self) -> slice:
        """The window's tokens among all those of the text."""
        return slice(self.first, self.first + len(self.offsets))


class Windows:
    """Cuts texts into windows for the network of `spec`.

    Args:
        spec (ModelSpec): the network.
        tokenizer (str): its tokenizer.json.
        length (int | None): tokens of a window. Default: None, as many as the network takes.
        stride (int | None): tokens of a text that two neighbours share. Default: None, 128, or half of what is free.

    Raises:
        ValueError: `length` is more than the network takes, or `stride` is no smaller than `length`.
    """

    def __init__(self, spec: ModelSpec, tokenizer: str, length: int | None = None, stride: int | None = None) -> None:
        most = spec.texts.length
        for name, value, low, high in (("window", length, 1, most), ("stride", stride, 0, (length or most) - 1)):
            whole = isinstance(value, int) and not isinstance(value, bool)
            if value is not None and not (whole and low <= value <= high):
                raise ValueError(f"{name}= is from {low} to {high} tokens for this {spec.name}, not {value!r}.")
        self.name, self.length, self.stride = spec.name, length or most, stride
        self.prepare = reader(spec, tokenizer, cuts=False)

    def of(self, texts: Sequence[Any]) -> list[list[Window]]:
        """The windows of each text, or of the second half of each pair, whose first half is in every window.

        A text without a token has no window. Raises ValueError where the first halves leave no room.
        """
        return [self._cut(one, isinstance(text, tuple)) for one, text in zip(self._encoded(texts), texts, strict=True)]

    def _encoded(self, texts: Sequence[Any]) -> list[Any]:
        return self.prepare.encoded(list(texts)) if texts else []

    def _cut(self, found: Any, pair: bool) -> list[Window]:
        ids, types, offsets, parts = found.ids, found.type_ids, found.offsets, found.sequence_ids
        places = [place for place, part in enumerate(parts) if part == int(pair)]
        if not places:
            return []
        start, end = places[0], places[-1] + 1
        room = self.length - (len(ids) - (end - start))
        if room < 1:
            others = len(ids) - (end - start)
            raise TextError(
                f"{self.name} takes {self.length:,} tokens of a question and its context at once, and the question has "
                f"{others:,} with those around it: ask a shorter one."
                if pair
                else f"A window of {self.length:,} tokens has no room beside the {others:,} that stand around a text."
            )
        overlap = min(OVERLAP, room // 2) if self.stride is None else self.stride
        if overlap >= room:
            raise TextError(f"stride= is {overlap} tokens, and a window has room for {room} of this text: take fewer.")
        firsts = range(0, max(1, end - start - overlap), room - overlap)
        return [
            Window(
                ids[:start] + ids[start + first : min(start + first + room, end)] + ids[end:],
                types[:start] + types[start + first : min(start + first + room, end)] + types[end:],
                start,
                first,
                offsets[start + first : min(start + first + room, end)],
                parts[0] is None,
                end - start,
            )
            for first in firsts
        ]


@lru_cache(maxsize=8)
def reader(spec: ModelSpec, tokenizer: str, *, cuts: bool) -> TextPreprocess:
    """The preprocessing of a network, kept: to read a tokenizer takes longer than to answer a short text."""
    return TextPreprocess(spec, tokenizer, cuts=cuts)


def batch_of(windows: Sequence[Window], prepare: TextPreprocess) -> dict[str, Tensor]:
    """What the network's call takes (B, N)."""
    parts = {
        "input_ids": padded([one.ids for one in windows], prepare.input.padding),
        "attention_mask": padded([[1] * len(one.ids) for one in windows], 0),
    }
    return {**parts, "token_type_ids": padded([one.types for one in windows], 0)} if prepare.types else parts


def logits_of(model: Any, windows: Sequence[Window], prepare: TextPreprocess, batch_size: int) -> Iterator[Tensor]:
    """The scores (N, K) of each window's tokens, float64 on the CPU; windows of like length go together."""
    order = sorted(range(len(windows)), key=lambda place: len(windows[place].ids))
    found: list[Tensor | None] = [None] * len(windows)
    for start in range(0, len(order), batch_size):
        places = order[start : start + batch_size]
        for place, scores in zip(places, logits(model, batch_of([windows[p] for p in places], prepare)), strict=True):
            found[place] = scores[: len(windows[place].ids)]
    yield from (one for one in found if one is not None)


@torch.inference_mode()
def logits(model: Any, inputs: Mapping[str, Tensor]) -> Tensor:
    """The main output, float64 on the CPU; raises ValueError where it is not finite."""
    named = {name: part.to(model.device) for name, part in inputs.items()}
    found = model(**named).answer
    check_answer(model, found, **named)
    return found.double().cpu()  # type: ignore[no-any-return]
