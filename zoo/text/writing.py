"""Plain strings in and out of a decoder: prompts become tokens, and new tokens become text behind the prompts."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Any

from torch import Tensor

from zoo.text.native import TextError
from zoo.text.verbs import answering

if TYPE_CHECKING:
    from zoo.text.decoder import TextDecoder


def is_text(given: Any) -> bool:
    """Whether it is a prompt, or several."""
    return isinstance(given, str) or (isinstance(given, list | tuple) and all(isinstance(one, str) for one in given))


def continued(model: TextDecoder, given: str | Iterable[str], stops: Collection[int], **options: Any) -> Any:
    """The prompts with the text behind them: a string, of several prompts a list. Prompts are computed together."""
    from zoo.data.preprocess import preprocess

    prompts = [given] if isinstance(given, str) else list(given)
    if not prompts:
        return []
    prepare: Any = preprocess(model)
    read = prepare(prompts)
    if empty := [i for i, row in enumerate(read["attention_mask"]) if not row.any()]:
        raise TextError(f"Prompt {empty[0] + 1} of {len(prompts)} is empty: a decoder continues one token at least.")
    with answering(model):
        steps = list(
            model.stream(
                read["input_ids"].to(model.device),
                read["attention_mask"].to(model.device),
                stop_tokens=stops,
                **options,
            )
        )
    texts = [
        prompt + prepare.continued(ids[kept.bool()].tolist(), _until([int(step[i]) for step in steps], stops))
        for i, (prompt, ids, kept) in enumerate(zip(prompts, read["input_ids"], read["attention_mask"], strict=True))
    ]
    return texts[0] if isinstance(given, str) else texts


def _until(new: list[int], stops: Collection[int]) -> list[int]:
    """The tokens of one text: behind its stop token there is padding."""
    end = next((i for i, token in enumerate(new) if token in stops), len(new))
    return new[:end]


def refuse_mask(mask: Tensor | None) -> None:
    """Raise ValueError for a mask beside strings."""
    if mask is not None:
        raise ValueError("attention_mask= is for token ids. Strings need none: leave it out.")
