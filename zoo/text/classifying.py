"""`model.classify`: the classes of texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from zoo.tasks.answers import Top, guesses
from zoo.text.tokenizer import Text, as_list
from zoo.text.verbs import answering, check_count
from zoo.text.windows import logits, reader


def classify(model: Any, texts: Text | Sequence[Text], *, top_k: int | None = None, batch_size: int = 32) -> Any:
    """Classify texts, or pairs of texts.

    The end of a text that is longer than the network takes is cut off, with a warning.

    Args:
        texts (Text | Sequence[Text]): a string, or a list of strings and of pairs (tuples of two strings).
        top_k (int | None): how many of the likeliest classes. Default: None, the likeliest alone.
        batch_size (int): texts that go through the network together. Default: 32.

    Returns:
        A dict {"label", "score"}, a list of `top_k` of them, the likeliest first, or for a list of texts a list with
        one of these each. The score is a probability; of a network that gives scores, the score.

    Raises:
        ValueError: something is no text, or the tokenizer is missing or another network's.

    Example:
        >>> model = zoo.create("bert.sst2")  # doctest: +SKIP
        >>> model.classify("a stirring, funny film")  # doctest: +SKIP
        {'label': 'POSITIVE', 'score': 0.99...}
    """
    check_count("batch_size", batch_size)
    if top_k is not None:
        check_count("top_k", top_k)
    found = [guesses(model, row, top_k or 1) for row in scores(model, as_list(texts), batch_size)]
    told = [[{"label": label, "score": value} for label, value in row] for row in found]
    given = told if top_k is not None else [row[0] for row in told]
    return given if isinstance(texts, list) else given[0]


def scores(model: Any, texts: Sequence[Any], batch_size: int = 32) -> Tensor:
    """The logits (B, K) of texts, float64."""
    prepare = reader(model.spec, model.tokenizer, cuts=True)
    prepare.told = False
    with answering(model):
        parts = (list(texts[start : start + batch_size]) for start in range(0, len(texts), batch_size))
        found = [logits(model, prepare(part)) for part in parts]
    return torch.cat(found) if found else torch.zeros(0, 0)


def shown(model: Any, text: Text) -> Top:
    """The likeliest classes of one text, as `zoo predict` shows them."""
    return Top(model, scores(model, [text])[0])
