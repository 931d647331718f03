"""Plain strings in and out of a decoder: prompts become tokens, and new tokens become text behind the prompts."""

from __future__ import annotations

import warnings
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from zoo.text.native import TextError
from zoo.text.tokenizer import strings
from zoo.text.verbs import answering

if TYPE_CHECKING:
    from zoo.text.decoder import TextDecoder


def continued(model: TextDecoder, given: Any, most: int, stops: Collection[int] | None, **options: Any) -> Any:
    """The prompts with the text behind them: a string, of several prompts a list. Prompts are computed together."""
    from zoo.data.preprocess import preprocess

    prompts = strings(given, "generate")
    if not prompts:
        return []
    stops = model.spec.texts.ends if stops is None else stops
    prepare: Any = preprocess(model)
    read = {name: part.to(model.device) for name, part in prepare(prompts).items()}
    ids, mask = read["input_ids"], read["attention_mask"]
    if empty := [i for i, row in enumerate(mask) if not row.any()]:
        raise TextError(f"Prompt {empty[0] + 1} of {len(prompts)} is empty: a decoder continues one token at least.")
    with answering(model):
        steps = list(model.stream(ids, mask, max_new_tokens=most, stop_tokens=stops, **options))
    rows = [[int(step[i]) for step in steps] for i in range(len(prompts))]
    texts = [
        prompt + prepare.continued(row[kept.bool()].tolist(), _until(new, stops))
        for prompt, row, kept, new in zip(prompts, ids, mask, rows, strict=True)
    ]
    room = model.spec.texts.length - ids.shape[1]
    if len(steps) == room < most and any(not set(new) & set(stops) for new in rows):
        warnings.warn(
            f"{model.spec.name} has {model.spec.texts.length:,} positions: texts end after {room:,} new tokens, not "
            f"{most:,}.",
            stacklevel=3,
        )
    return texts[0] if isinstance(given, str) else texts


def _until(new: list[int], stops: Collection[int]) -> list[int]:
    """The tokens of one text: behind its stop token there is padding."""
    return new[: next((i for i, token in enumerate(new) if token in stops), len(new))]
