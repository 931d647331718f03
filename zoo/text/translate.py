"""Texts of texts: the encoder reads each text once, the decoder writes token by token, with a cache.

Shapes: B texts, M their tokens, N tokens of targets.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from zoo import kinds
from zoo.blocks.kv_cache import KVCache
from zoo.blocks.settled import Settled
from zoo.text.beams import Search
from zoo.text.native import TextError
from zoo.text.tokenizer import strings

if TYPE_CHECKING:
    from zoo.text.translator import Translator

BEAMS, MOST, BATCH = 4, 256, 32
MOST_BEAMS = 64


def translate(
    model: Translator,
    texts: str | Sequence[str],
    *,
    beams: int = BEAMS,
    max_tokens: int = MOST,
    length_penalty: float = 1.0,
    early_stopping: bool | str = False,
    batch_size: int = BATCH,
    progress: Callable[[int], None] | None = None,
) -> Any:
    """Make a text of each text: a translation, or what else the network has learned.

    Texts of similar length are computed together. A text without a word, such as an empty one, stays empty.

    Args:
        model (Translator): the network; as a method, the network itself.
        texts (str | Sequence[str]): one text, or several.
        beams (int): how many translations are followed at once; the likeliest is returned. 1 takes the likeliest token
            at each step. Default: 4.
        max_tokens (int): the most tokens of a translation. A warning says how many reach it. Default: 256.
        length_penalty (float): above 1 makes longer translations likelier, below 1 shorter ones; for more than one
            beam. Default: 1.0.
        early_stopping (bool | str): when a search ends: True, with as many finished translations as beams; False, when
            the running ones score less than all finished ones; "never", when they would at any length. For more than
            one beam. Default: False.
        batch_size (int): texts that are computed together. Default: 32.
        progress (Callable[[int], None] | None): is told how many texts are done, after each batch. Default: None.

    Returns:
        str | list[str]: the translations, in the order of the texts; of one text, one.

    Raises:
        ValueError: the tokenizer is missing, a text is no string or longer than the network takes, or an option is out
            of range.

    Example::

        model = zoo.load("a folder of a MarianMTModel")
        model.translate(["A man rides a bike."])
    """
    if isinstance(texts, str):
        return translate(
            model,
            [texts],
            beams=beams,
            max_tokens=max_tokens,
            length_penalty=length_penalty,
            early_stopping=early_stopping,
        )[0]
    texts = strings(texts, "translate")
    search = _search(model, beams, max_tokens, length_penalty, early_stopping)
    _check_whole("batch_size", batch_size)
    prepare, found, cut = model.prepare(), [""] * len(texts), 0
    wanted = [place for place, text in enumerate(texts) if text.strip()]
    rows = prepare.rows([texts[place] for place in wanted])
    for place, row in zip(wanted, rows, strict=True):
        if len(row) > (room := model.spec.texts.length):
            raise TextError(
                f"Text {place + 1} has {len(row)} tokens, and {model.spec.name} takes {room}: give its sentences as "
                "texts of their own."
            )
    order = sorted(range(len(wanted)), key=lambda at: len(rows[at]))
    done = len(texts) - len(wanted)
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        inputs = {key: part.to(model.device) for key, part in prepare.inputs([rows[at] for at in batch]).items()}
        for at, tokens in zip(batch, _targets(model, search, **inputs), strict=True):
            cut += not set(tokens) & set(search.takes.ends) or _forced(search, tokens)
            found[wanted[at]] = prepare.decode(tokens)
        done += len(batch)
        if progress is not None:
            progress(done)
    if cut:
        warnings.warn(
            f"{cut} of {len(texts)} translations reach {search.most} tokens and end there: give a larger max_tokens=.",
            UserWarning,
            stacklevel=2,
        )
    return found


def translate_ids(
    model: Translator,
    input_ids: Tensor,
    attention_mask: Tensor | None = None,
    *,
    beams: int = BEAMS,
    max_tokens: int = MOST,
    length_penalty: float = 1.0,
    early_stopping: bool | str = False,
) -> Tensor:
    """`translate`, from token ids to token ids.

    Args:
        model (Translator): the network; as a method, the network itself.
        input_ids (Tensor): the texts, int64 (B, M).
        attention_mask (Tensor | None): (B, M), 1 at tokens and 0 at padding. Default: None, no padding.
        beams (int): see `translate`. Default: 4.
        max_tokens (int): see `translate`. Default: 256.
        length_penalty (float): see `translate`. Default: 1.0.
        early_stopping (bool | str): see `translate`. Default: False.

    Returns:
        Tensor: int64 (B, 1 + at most max_tokens): the start, the tokens, padding behind the end.

    Raises:
        ValueError: an argument is out of range.

    Example:
        >>> model = zoo.create("marian_tiny", weights=None)
        >>> model.translate_ids(torch.tensor([[5, 6, 0]]), max_tokens=3).shape
        torch.Size([1, 4])
    """
    search = _search(model, beams, max_tokens, length_penalty, early_stopping)
    found = _targets(model, search, input_ids, attention_mask)
    length = max(map(len, found), default=0)
    rows = [[search.takes.start, *row, *[search.takes.padding] * (length - len(row))] for row in found]
    return torch.tensor(rows, dtype=torch.long, device=input_ids.device).view(len(found), length + 1)


def _targets(
    model: Translator, search: Search, input_ids: Tensor, attention_mask: Tensor | None = None
) -> list[list[int]]:
    with torch.inference_mode(), Settled(model):
        memory = model.encode(input_ids, attention_mask)
        mask = None if attention_mask is None or bool(attention_mask.all()) else attention_mask
        cache = KVCache()

        def step(last: Tensor, rows: Tensor | None, texts: Tensor | None) -> Tensor:
            nonlocal memory, mask
            if rows is not None:
                cache.select(rows)
            if texts is not None:
                cache.select_texts(texts)
                memory, mask = memory[texts], None if mask is None else mask[texts]
            return model.decode(last[:, None], memory, mask, cache=cache, last=True)[:, -1]

        return search.run(step, len(input_ids), memory.device)


def _forced(search: Search, tokens: Sequence[int]) -> bool:
    """Whether a translation ends because it has the largest length."""
    return search.takes.last >= 0 and len(tokens) == search.most


def _search(
    model: Translator, beams: int, max_tokens: int, length_penalty: float, early_stopping: bool | str
) -> Search:
    spec = model.spec
    if kinds.head(spec) is None or not spec.input.translates:
        raise ValueError(f"{spec.name} has no row that scores the next token of a target: it translates nothing.")
    _check_whole("beams", beams, MOST_BEAMS)
    _check_whole("max_tokens", max_tokens)
    real = isinstance(length_penalty, (int, float)) and not isinstance(length_penalty, bool)
    if not (real and math.isfinite(length_penalty)):
        raise ValueError(f"length_penalty is a finite number, not {length_penalty!r}.")
    if not isinstance(early_stopping, bool) and early_stopping != "never":
        raise ValueError(f'early_stopping is True, False or "never", not {early_stopping!r}.')
    for name, usual in (("length_penalty", length_penalty == 1), ("early_stopping", early_stopping is False)):
        if beams == 1 and not usual:
            raise ValueError(f"{name}= is for more than one beam, and with beams=1 the likeliest token is taken.")
    most = int(min(max_tokens, model.most_targets()))
    return Search(spec.texts, most, beams, float(length_penalty), early_stopping)


def _check_whole(name: str, value: object, most: int | None = None) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1 or (most is not None and value > most):
        bounds = f"from 1 to {most}" if most is not None else "from 1 on"
        raise ValueError(f"{name} is a whole number {bounds}, not {value!r}.")
