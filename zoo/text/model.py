"""A network that takes token ids: masks and caches go to the rows that want them, and what comes out has names.

Shapes: B batch, N tokens, D width.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from zoo.blocks.kv_cache import KVCache
from zoo.build import Model
from zoo.spec import Block, SpecError
from zoo.text import generate as generation

HEADS = ("classifier", "token_head")


@dataclass
class TextOutput:
    """What a language model answers, as far as its rows have it.

    `last_hidden_state` (B, N, D); `pooler_output` (B, D); `sentence_embedding` (B, D); `logits` (B, classes), or (B, N,
    outputs) for every token: the next one's scores in a decoder, starts and ends of answers in their last axis.
    """

    last_hidden_state: Tensor
    pooler_output: Tensor | None = None
    sentence_embedding: Tensor | None = None
    logits: Tensor | None = None

    @property
    def answer(self) -> Tensor:
        """The last of these that there is."""
        found = (self.logits, self.sentence_embedding, self.pooler_output, self.last_hidden_state)
        return next(one for one in found if one is not None)

    @property
    def start_logits(self) -> Tensor:
        """(B, N) scores of where an answer starts."""
        return self._of_answer(0)

    @property
    def end_logits(self) -> Tensor:
        """(B, N) scores of where an answer ends."""
        return self._of_answer(1)

    def __getitem__(self, name: str) -> Tensor:
        return getattr(self, name)

    def __iter__(self) -> Iterator[str]:
        return (f.name for f in fields(self) if getattr(self, f.name) is not None)

    def _of_answer(self, side: int) -> Tensor:
        if self.logits is None or self.logits.dim() != 3 or self.logits.shape[2] != 2:
            raise AttributeError("Only a network that answers questions has starts and ends.")
        return self.logits[..., side]


torch.export.register_dataclass(TextOutput, serialized_type_name="zoo.TextOutput")


class TextModel(Model):
    """A network whose first row takes token ids."""

    generate = generation.generate
    stream = generation.stream

    def forward(  # type: ignore[override]
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        *,
        positions: Tensor | None = None,
        cache: KVCache | None = None,
        last: bool = False,
        taps: Iterable[str] = (),
    ) -> Any:
        """(B, N) token ids to a `TextOutput`; with `taps`, to (output, {row name: that row's output}).

        `attention_mask` (B, N) is 1, or True, at tokens and 0 at padding; with a `cache`, (B, L) over all so far.
        `positions` (N,) or (B, N) count from 0. A `cache` takes the keys and values of these tokens behind those it
        has. `last` gives the logits of the last token alone, (B, 1, outputs), where there is a row of logits a token.
        """
        before = 0 if cache is None else cache.length
        self.check_ids(input_ids, attention_mask, token_type_ids, before)
        taps = tuple(taps)
        if unknown := set(taps) - {"input", *self._modules}:
            raise ValueError(f"No such rows to tap: {sorted(unknown)}; the rows are {list(self._modules)}.")
        if cache is not None and positions is None:
            positions = torch.arange(before, before + input_ids.shape[1], device=input_ids.device)
        if attention_mask is not None and not _traced(attention_mask) and bool(attention_mask.all()):
            attention_mask = None  # attention without a mask is quicker
        context = {"mask": attention_mask, "token_type_ids": token_type_ids, "positions": positions, "last": last}
        kept: dict[str, Tensor] = {"input": input_ids}
        out = TextOutput(input_ids)
        x: Tensor = input_ids
        for row, module in zip(self.spec.rows, self._modules.values(), strict=True):
            x = module(x, **self._wanted(row, module, context, cache))  # type: ignore[misc]
            _file(out, row, x)
            if row.name in taps:
                kept[row.name] = x
        return (out, {name: kept[name] for name in taps}) if taps else out

    def _wanted(self, row: Block, module: Any, context: dict[str, Any], cache: KVCache | None) -> dict[str, Any]:
        """The keywords of `context` that the row declares."""
        named = getattr(module, "context", ())
        wanted = {key: context[key] for key in named if context.get(key) is not None}
        if "cache" in named and cache is not None:
            wanted["cache"] = cache[row.name]
        if "table" in named and (tied := row.args.get("tied")):
            wanted["table"] = self._modules[tied]
        return wanted

    def check_input(self, x: Any) -> None:
        """Raise ValueError for what `forward` does not take."""
        self.check_ids(x)

    def check_ids(self, ids: Any, mask: Any = None, types: Any = None, before: int = 0) -> None:
        """Raise ValueError for ids, a mask or types that `forward` does not take behind `before` tokens in a cache."""
        if not _whole(ids) or ids.dim() != 2 or ids.shape[1] == 0:
            found = (
                f"{str(ids.dtype)[6:]} of shape {tuple(ids.shape)}" if isinstance(ids, Tensor) else type(ids).__name__
            )
            raise ValueError(
                f"{self.spec.name} takes token ids, int64 of shape (batch, tokens), not {found}; "
                "zoo.preprocess(model) makes them of text."
            )
        if mask is not None and not (isinstance(mask, Tensor) and mask.dim() == 2 and mask.shape[0] == ids.shape[0]):
            raise ValueError(f"attention_mask is (batch, tokens) as the ids are, {tuple(ids.shape)}.")
        if types is not None and not (_whole(types) and types.shape == ids.shape):
            raise ValueError(f"token_type_ids are whole numbers, and have the shape of the ids, {tuple(ids.shape)}.")
        if _traced(ids):
            return
        tokens = before + ids.shape[1]
        if mask is not None and mask.shape[1] != tokens:
            raise ValueError(f"attention_mask is over {tokens} tokens, as the ids are, not over {mask.shape[1]}.")
        if tokens > (room := self._most_tokens()):
            raise ValueError(f"{self.spec.name} has positions for {room} tokens, not for {tokens}: cut the text.")
        if not ids.numel():
            return
        _check_range(self.spec.name, "tokens", ids, self.spec.texts.vocabulary, "is the tokenizer another network's?")
        if types is not None and (known := self.spec.rows[0].args.get("token_types", 0)):
            _check_range(self.spec.name, "token types", types, known, "they tell a pair's halves apart.")

    def _most_tokens(self) -> float:
        """How many tokens have learned positions; rotary and relative ones go on."""
        args = self.spec.rows[0].args
        learned = args.get("max_positions", 0)
        return learned - 1 - args.get("padding_id", -1) if learned else float("inf")


def _whole(x: Any) -> bool:
    return isinstance(x, Tensor) and x.dtype in (torch.int64, torch.int32)


def _check_range(name: str, what: str, numbers: Tensor, known: int, hint: str) -> None:
    low, high = map(int, torch.aminmax(numbers))
    if low < 0 or high >= known:
        raise ValueError(f"{name} knows {what} 0 to {known - 1}, not {low} to {high}: {hint}")


def _traced(x: Tensor) -> bool:
    """Whether there are no values to look at."""
    return torch.compiler.is_compiling() or x.is_meta


def _file(out: TextOutput, row: Block, x: Tensor) -> None:
    """Put what a row gives where it belongs."""
    if row.kind in HEADS:
        out.logits = x
    elif row.kind == "pooler":
        out.pooler_output = x
    elif row.kind == "token_pool":
        out.sentence_embedding = x
    elif x.dim() == 3:
        out.last_hidden_state = x
    else:
        raise SpecError(f"Row {row.name!r}: a {row.kind} has no place in a language model.")
