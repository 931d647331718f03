"""More text behind a prompt: one token at a time, the keys and values of those before kept.

Shapes: B prompts, N their tokens, V the vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from zoo import kinds
from zoo.blocks.kv_cache import KVCache
from zoo.blocks.settled import Settled
from zoo.checks import MAX_SEED, check_whole
from zoo.text import writing
from zoo.text.beams import likeliest

if TYPE_CHECKING:
    from zoo.text.decoder import TextDecoder

LOWEST = 1e-30  # of temperatures that differ from 0: float32 divides by no number much smaller


def generate(
    model: TextDecoder,
    input_ids: Tensor | str | Sequence[str],
    attention_mask: Tensor | None = None,
    *,
    max_new_tokens: int = 20,
    temperature: float = 0.0,
    top_k: int = 0,
    top_p: float = 1.0,
    stop_tokens: Collection[int] | None = None,
    seed: int | None = None,
) -> Any:
    """Continue prompts, and return them with the new tokens.

    Args:
        model (TextDecoder): the network; as a method, the network itself.
        input_ids (Tensor | str | Sequence[str]): the prompts: token ids, int64 (B, N), or strings.
        attention_mask (Tensor | None): (B, N), 1 at tokens and 0 at padding, for prompts of unequal length. The padding
            may be at either end. Strings need none. Default: None, no padding.
        max_new_tokens (int): the most tokens to add. Default: 20.
        temperature (float): see `stream`. Default: 0.0.
        top_k (int): see `stream`. Default: 0.
        top_p (float): see `stream`. Default: 1.0.
        stop_tokens (Collection[int] | None): see `stream`. Default: None.
        seed (int | None): see `stream`. Default: None.

    Returns:
        Tensor | str | list[str]: of a string the prompt and the text behind it, of several strings a list. Of token ids
        int64 (B, N + at most max_new_tokens), with padding in front of shorter prompts. After a stop token a row has
        padding tokens.

    Raises:
        ValueError: the decoder has no head, a prompt is empty or leaves no position free, or an argument is out of
            range.

    Example:
        >>> model = zoo.create("gpt2", weights=None)
        >>> model.generate(torch.tensor([[1, 2, 3]]), max_new_tokens=2).shape
        torch.Size([1, 5])
    """
    options: dict[str, Any] = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "seed": seed}
    if not isinstance(input_ids, Tensor):
        if attention_mask is not None:
            raise ValueError("attention_mask= is for token ids. Strings need none: leave it out.")
        _check(model, max_new_tokens, temperature, top_k, top_p, stop_tokens, seed)
        return writing.continued(model, input_ids, max_new_tokens, stop_tokens, **options)
    ids, mask = _aligned(model, input_ids, attention_mask)
    new = list(stream(model, ids, mask, max_new_tokens=max_new_tokens, stop_tokens=stop_tokens, **options))
    return torch.cat([ids, torch.stack(new, 1)], 1) if new else ids


def stream(
    model: TextDecoder,
    input_ids: Tensor,
    attention_mask: Tensor | None = None,
    *,
    max_new_tokens: int = 20,
    temperature: float = 0.0,
    top_k: int = 0,
    top_p: float = 1.0,
    stop_tokens: Collection[int] | None = None,
    seed: int | None = None,
) -> Iterator[Tensor]:
    """Continue prompts, one token at a time.

    The iterator ends after `max_new_tokens`, when every row has had a stop token, or when the network has no more
    positions.

    Args:
        model (TextDecoder): the network; as a method, the network itself.
        input_ids (Tensor): the prompts, int64 (B, N).
        attention_mask (Tensor | None): (B, N), 1 at tokens and 0 at padding. Default: None, no padding.
        max_new_tokens (int): the most tokens to add. Default: 20.
        temperature (float): 0 takes the most probable token. Above 0 tokens are drawn at random, and a lower
            temperature makes probable tokens more frequent. Default: 0.0.
        top_k (int): draw among so many of the most probable tokens; 0 stands for all. Like `top_p` and `seed` it is
            for a temperature above 0. Default: 0.
        top_p (float): draw among the fewest tokens whose probabilities add up to this share (nucleus sampling:
            Holtzman et al., 2020). Default: 1.0, all tokens.
        stop_tokens (Collection[int] | None): token ids that end a text. Default: None, those of the spec's input.
        seed (int | None): makes a random drawing repeatable. Default: None, torch's generator.

    Returns:
        Iterator[Tensor]: the next token of every prompt, int64 (B,), for each step.

    Raises:
        ValueError: at the call; the decoder has no head, a prompt leaves no position free, or an argument is out of
            range.

    Example:
        >>> model = zoo.create("gpt2", weights=None)
        >>> [token.shape for token in model.stream(torch.tensor([[1, 2, 3]]), max_new_tokens=2)]
        [torch.Size([1]), torch.Size([1])]
    """
    _check(model, max_new_tokens, temperature, top_k, top_p, stop_tokens, seed)
    ids, mask = _aligned(model, input_ids, attention_mask)
    room = model.spec.texts.length - ids.shape[1]
    if room < 1 <= max_new_tokens:
        raise ValueError(
            f"{model.spec.name} takes {model.spec.texts.length} tokens, and the prompt has {ids.shape[1]}: shorten it."
        )
    stops = torch.tensor(sorted(model.spec.texts.ends if stop_tokens is None else stop_tokens), device=ids.device)
    generator = None if seed is None else torch.Generator(ids.device).manual_seed(seed)

    def choose(logits: Tensor) -> Tensor:
        return _chosen(logits, temperature, top_k, top_p, generator)

    return _steps(model, ids, mask, min(max_new_tokens, room), choose, stops)


def _steps(
    model: TextDecoder, ids: Tensor, mask: Tensor | None, most: int, choose: Callable[[Tensor], Tensor], stops: Tensor
) -> Iterator[Tensor]:
    """Between two tokens the caller's own mode of gradients holds."""
    ended = torch.zeros(len(ids), dtype=torch.bool, device=ids.device)
    cache, fresh, settled = KVCache(ids.shape[1] + most), ids, Settled(model)
    places = None if mask is None else (mask.cumsum(1) - 1).clamp_min(0)
    for _ in range(most):
        with torch.inference_mode(), settled:
            token = choose(model(fresh, mask, positions=places, cache=cache, last=True).logits[:, -1])
            token = token.masked_fill(ended, model.spec.texts.padding)
        yield token
        ended = ended | torch.isin(token, stops)
        if ended.all():
            return
        fresh = token[:, None]
        if mask is not None and places is not None:
            mask = torch.cat([mask, mask.new_ones(len(mask), 1)], 1)
            places = places[:, -1:] + 1


def filtered(logits: Tensor, temperature: float, top_k: int, top_p: float) -> Tensor:
    """(B, V) scores to those that tokens are drawn by: the others are -inf."""
    logits = logits.float() / temperature
    if 0 < top_k < logits.shape[-1]:
        least = logits.topk(top_k).values[:, -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    if top_p < 1:
        ranked, order = logits.sort(descending=False)
        below = ranked.softmax(-1).cumsum(-1) <= 1 - top_p
        below[:, -1] = False
        logits = logits.masked_fill(below.scatter(1, order, below), -torch.inf)
    return logits


def _chosen(logits: Tensor, temperature: float, top_k: int, top_p: float, generator: torch.Generator | None) -> Tensor:
    if temperature < LOWEST:
        return likeliest(logits)
    logits = logits.float()
    logits = logits - logits.amax(-1, keepdim=True)  # the likeliest at 0: no quotient is too large
    probabilities = filtered(logits, temperature, top_k, top_p).softmax(-1)
    return torch.multinomial(probabilities, 1, generator=generator)[:, 0]


def _aligned(model: TextDecoder, ids: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Prompts that all end at the last place; no mask where nothing is padded."""
    model.check_ids(ids, mask)
    if mask is None or bool(mask.all()):
        return ids, None
    mask = mask.bool().long()
    if mask.shape != ids.shape or not bool(mask.any(1).all()):
        raise ValueError(f"attention_mask is {tuple(ids.shape)}, as the prompts are, and keeps a token of each.")
    order = mask.argsort(dim=1, stable=True)  # padding first, the rest as it was
    kept = mask.gather(1, order)
    return ids.gather(1, order), kept


def _check(
    model: TextDecoder,
    max_new_tokens: int,
    temperature: float,
    top_k: int,
    top_p: float,
    stop_tokens: Collection[int] | None,
    seed: int | None,
) -> None:
    if kinds.head(model.spec) is None:
        raise ValueError(f"{model.spec.name} has no row that scores the next token: give it its head back to generate.")
    stops = stop_tokens is None or (isinstance(stop_tokens, Collection) and all(map(_is_whole, stop_tokens)))
    for name, value, proper, valid in (
        ("max_new_tokens", max_new_tokens, _is_whole(max_new_tokens) and max_new_tokens >= 0, "a whole number from 0"),
        ("temperature", temperature, _is_real(temperature) and temperature >= 0, "0 or more"),
        ("top_k", top_k, _is_whole(top_k) and top_k >= 0, "a whole number from 0"),
        ("top_p", top_p, _is_real(top_p) and 0 < top_p <= 1, "above 0, at most 1"),
        ("stop_tokens", stop_tokens, stops, "a collection of token ids, or None"),
    ):
        if not proper:
            raise ValueError(f"{name} is {valid}, not {value!r}.")
    if seed is not None:
        check_whole("seed", seed, most=MAX_SEED)
    idle = [name for name, idle in (("top_k", top_k == 0), ("top_p", top_p == 1), ("seed", seed is None)) if not idle]
    if temperature == 0 and idle:
        raise ValueError(
            f"{' and '.join(f'{name}=' for name in idle)} {'is' if len(idle) == 1 else 'are'} for drawing at random, "
            "and at temperature 0 the likeliest token is always taken: give a temperature= above 0."
        )


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_real(value: object) -> bool:
    return _is_whole(value) or (isinstance(value, float) and math.isfinite(value))
