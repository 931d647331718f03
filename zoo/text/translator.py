"""A network that makes texts of texts: an encoder reads a text once, a decoder writes another one token by token.

Shapes: B texts, M their tokens, N tokens of targets, D width.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from zoo import kinds
from zoo.blocks.kv_cache import KVCache
from zoo.spec import Block, ModelSpec
from zoo.text import translate as translation
from zoo.text.model import TextModel, TextOutput, check_range, traced_values
from zoo.text.tokenizer import TextPreprocess

DECODER = ("cache", "last", "decoder_input_ids", "memory_mask")  # what only rows of the decoder take


class Translator(TextModel):
    """A `TextModel` for translation: `translate` makes texts of texts, and the call takes tokens of targets too.

    Args:
        spec (ModelSpec): the rows of the encoder, then those of the decoder, and what the network takes.

    Example:
        >>> model = zoo.create("marian_tiny", weights=None)
        >>> model(torch.tensor([[5, 6, 0]]), decoder_input_ids=torch.tensor([[7999, 8]])).logits.shape
        torch.Size([1, 2, 8000])
    """

    translate = translation.translate
    translate_ids = translation.translate_ids

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__(spec)
        starts = [place for place, row in enumerate(spec) if kinds.KINDS[row.kind].takes_targets]
        split = starts[0] if starts else len(spec.rows)
        self._encoder, self._decoder = spec.rows[:split], spec.rows[split:]
        self._decodes = frozenset(row.name for row in self._decoder)
        self._prepared: tuple[str, TextPreprocess] | None = None

    def forward(  # type: ignore[override]
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
        decoder_attention_mask: Tensor | None = None,
        *,
        taps: Iterable[str] = (),
    ) -> Any:
        """Score the tokens of targets.

        Args:
            input_ids (Tensor): int64 or int32 (B, M).
            attention_mask (Tensor | None): (B, M), 1 or True at tokens and 0 at padding. Default: None, no padding.
            decoder_input_ids (Tensor | None): (B, N), the start of targets and the tokens behind it. Default: None, the
                start and `input_ids` without the last token.
            decoder_attention_mask (Tensor | None): (B, N), as `attention_mask`. Default: None, no padding.
            taps (Iterable[str]): names of rows whose outputs are returned too. Default: none.

        Returns:
            TextOutput: `logits` (B, N, target vocabulary), and the decoder's last hidden state; with `taps`, the pair
            (TextOutput, {row name: Tensor}).

        Raises:
            ValueError: an input has another shape, dtype or range.
        """
        self.check_call(input_ids, attention_mask, None)
        targets = decoder_input_ids if decoder_input_ids is not None else self._shifted(input_ids)
        self._check_targets(targets, decoder_attention_mask, len(input_ids))
        mask = None if attention_mask is None or _whole(attention_mask) else attention_mask
        own = None if decoder_attention_mask is None or _whole(decoder_attention_mask) else decoder_attention_mask
        context = {"memory_mask": mask, "decoder_input_ids": targets, "target_mask": own}
        return self.run_rows(input_ids, mask, context, taps)

    def encode(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """What the encoder makes of texts.

        Args:
            input_ids (Tensor): as for `forward`.
            attention_mask (Tensor | None): as for `forward`. Default: None.

        Returns:
            Tensor: (B, M, D), the `memory` of `decode`.
        """
        self.check_call(input_ids, attention_mask, None)
        mask = None if attention_mask is None or _whole(attention_mask) else attention_mask
        out = TextOutput(input_ids)
        self._through(self._encoder, input_ids, {"mask": mask}, out, {}, ())
        return out.last_hidden_state

    def decode(
        self,
        decoder_input_ids: Tensor,
        memory: Tensor,
        memory_mask: Tensor | None = None,
        *,
        cache: KVCache | None = None,
        last: bool = False,
    ) -> Tensor:
        """Score tokens of targets, of texts that the encoder has read.

        Args:
            decoder_input_ids (Tensor): (R, N), tokens behind those in the cache; several rows, one behind the other,
                may belong to one text.
            memory (Tensor): what `encode` gives, (B, M, D).
            memory_mask (Tensor | None): the texts' attention_mask (B, M). Default: None, no padding.
            cache (KVCache | None): keys and values of the tokens before, and of `memory`. Default: None.
            last (bool): return the scores of the last token only, (R, 1, target vocabulary). Default: False.

        Returns:
            Tensor: scores (R, N, target vocabulary).
        """
        before = 0 if cache is None else cache.length
        positions = torch.arange(before, before + decoder_input_ids.shape[1], device=memory.device)
        context: dict[str, Any] = {"memory_mask": memory_mask, "decoder_input_ids": decoder_input_ids, "cache": cache}
        context |= {"last": last, "target_mask": None, "target_positions": positions}
        out = TextOutput(memory)
        self._through(self._decoder, memory, context, out, {self._encoder[-1].name: memory}, ())
        return out.answer

    def completed(self, batch: Any) -> Any:
        """Complete texts with the network's own translations, the likeliest token at each step.

        Args:
            batch (Any): token ids, or a dict as `prepare` gives it.

        Returns:
            Any: a dict with `decoder_input_ids` and their mask too; the same, where it has them.
        """
        given = {"input_ids": batch} if isinstance(batch, Tensor) else dict(batch)
        if "decoder_input_ids" in given or not self._decoder or kinds.head(self.spec) is None:
            return batch
        ids = self.translate_ids(**given, beams=1, max_tokens=min(self.spec.texts.length, translation.MOST) - 1)
        ends = torch.isin(ids, torch.tensor(self.spec.texts.ends, dtype=ids.dtype, device=ids.device))
        past = (ends.cumsum(1) - ends.long() > 0) & (torch.arange(ids.shape[1], device=ids.device) > 0)
        return {**given, "decoder_input_ids": ids, "decoder_attention_mask": (~past).to(ids.dtype)}

    def prepare(self) -> TextPreprocess:
        """What makes token ids of texts and texts of token ids, by the network's own tokenizer."""
        if self._prepared is None or self._prepared[0] != self.tokenizer:
            self._prepared = self.tokenizer, TextPreprocess.of(self)
        return self._prepared[1]

    def row_keywords(self, given: Mapping[str, Any]) -> dict[str, Any]:
        masks = [given.get(name) for name in ("attention_mask", "decoder_attention_mask")]
        mask, own = (None if one is None or _whole(one) else one for one in masks)
        return {
            "mask": mask,
            "memory_mask": mask,
            "decoder_input_ids": given["decoder_input_ids"],
            "target_mask": own,
        }

    def row_context(self, row: Block, module: Any, context: dict[str, Any]) -> dict[str, Any]:
        """The keywords that the row declares: of the encoder's, those of texts, of the decoder's, those of targets."""
        if row.name not in self._decodes:
            return super().row_context(row, module, {key: x for key, x in context.items() if key not in DECODER})
        own = {"mask": context.get("target_mask"), "positions": context.get("target_positions")}
        wanted = super().row_context(row, module, {**context, **own})
        if "cache" in wanted:
            wanted["cache"] = wanted["cache"][row.name]
        return wanted

    def _shifted(self, ids: Tensor) -> Tensor:
        """The start, and the texts themselves as targets."""
        if not self._decoder:
            return ids
        if self.spec.texts.targets < self.spec.texts.vocabulary:
            raise ValueError(f"{self.spec.name} has a vocabulary of targets: give it decoder_input_ids= too.")
        start = torch.full_like(ids[:, :1], self.spec.texts.start)
        return torch.cat([start, ids[:, :-1]], 1)

    def _check_targets(self, ids: Any, mask: Any, texts: int) -> None:
        """Raise ValueError for tokens of targets that `forward` does not take."""
        takes = self.spec.texts
        whole = isinstance(ids, Tensor) and ids.dtype in (torch.int64, torch.int32)
        if not (whole and ids.dim() == 2 and ids.shape[1] > 0):
            raise ValueError(f"decoder_input_ids are whole numbers, (batch, tokens), of {self.spec.name}'s targets.")
        if traced_values(ids):
            return
        if len(ids) != texts:
            raise ValueError(f"decoder_input_ids are of {len(ids)} texts, and input_ids of {texts}.")
        if mask is not None and not (isinstance(mask, Tensor) and mask.shape == ids.shape):
            raise ValueError(f"decoder_attention_mask is {tuple(ids.shape)}, as decoder_input_ids are.")
        if ids.shape[1] > (room := self.most_targets()):
            raise ValueError(f"{self.spec.name} has positions for {room} tokens of a target, not for {ids.shape[1]}.")
        if ids.numel():
            check_range(self.spec.name, "target tokens", ids, takes.targets, "are they another network's?")

    def most_targets(self) -> float:
        """How many tokens of a target have positions."""
        room = self._decoder[0].args.get("max_positions", 0) if self._decoder else 0
        return room or float("inf")


def _whole(mask: Tensor) -> bool:
    """Whether a mask keeps all: attention without one is quicker."""
    return not traced_values(mask) and bool(mask.all())


def no_export(model: Any, *args: Any, **options: Any) -> Any:
    """Raise ValueError: no file of another system has both halves and the search between them."""
    raise ValueError(
        f"{model.spec.name} translates texts step by step, and no other runtime or file format does so yet: use it in "
        "torch, where its int8 form is fast."
    )
