"""A network that continues texts: the keys and values of earlier tokens may be kept, and tokens are chosen."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from zoo.blocks.kv_cache import KVCache
from zoo.spec import Block
from zoo.text import generate as generation
from zoo.text.model import TextModel


class TextDecoder(TextModel):
    """A `TextModel` for text-generation: `generate` and `stream` continue prompts, and the call takes a cache.

    Args:
        spec (ModelSpec): the rows, in order, and what the network takes.
    """

    generate = generation.generate
    stream = generation.stream

    def forward(
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
        """Compute the outputs for token ids.

        Args:
            input_ids (Tensor): int64 or int32 (B, N).
            attention_mask (Tensor | None): (B, N), 1 or True at tokens and 0 at padding; with a `cache`, (B, L) for all
                tokens so far. Default: None, no padding.
            token_type_ids (Tensor | None): (B, N), the segment of each token, if the network has segments.
                Default: None, zeros.
            positions (Tensor | None): (N,) or (B, N), counted from 0. Default: None, those that follow the cache.
            cache (KVCache | None): keys and values of earlier tokens; the call appends those of `input_ids`.
                Default: None.
            last (bool): return the logits of the last token only, (B, 1, outputs). Default: False.
            taps (Iterable[str]): names of rows whose outputs are returned too. Default: none.

        Returns:
            TextOutput: the outputs; with `taps`, the pair (TextOutput, {row name: Tensor}).

        Raises:
            ValueError: an input has another shape, dtype or range.
        """
        before = 0 if cache is None else cache.length
        self.check_call(input_ids, attention_mask, token_type_ids, before)
        if cache is not None and positions is None:
            positions = torch.arange(before, before + input_ids.shape[1], device=input_ids.device)
        context = {"token_type_ids": token_type_ids, "positions": positions, "cache": cache, "last": last}
        return self.run_rows(input_ids, attention_mask, context, taps)

    def row_context(self, row: Block, module: Any, context: dict[str, Any]) -> dict[str, Any]:
        """The keywords that the row declares; of the cache, the row's own entry."""
        wanted = super().row_context(row, module, context)
        if "cache" in wanted:
            wanted["cache"] = wanted["cache"][row.name]
        return wanted
