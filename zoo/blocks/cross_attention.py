"""Attention of a decoder to what an encoder made of a text.

Shapes: B rows of the decoder, T texts, N and M tokens, D width. B is T, or a multiple of it where several rows, one
behind the other, belong to one text, as the beams of a search.
"""

from __future__ import annotations

from collections.abc import Callable

import torch.nn as nn
from torch import Tensor

from zoo.blocks import attend
from zoo.blocks.kv_cache import LayerCache
from zoo.blocks.linear import Linear


class CrossAttention(nn.Module):
    """Queries of one stream of tokens read keys and values of another (Vaswani et al., 2017).

    Args:
        dim (int): width of the tokens of both streams.
        heads (int): heads.
        head_dim (int): width of a head. Default: 0, `dim / heads`.
        bias (bool): whether queries, keys and values have biases. Default: True.
        out_bias (bool): whether the projection back has a bias. Default: True.
        scaled (bool): as for `Attention`. Default: True.
        dropout (float): share of the attention set to zero in training. Default: 0.0.

    Shape:
        (B, N, dim) and (T, M, dim) to (B, N, dim).

    Raises:
        ValueError: widths do not divide among the heads.

    Example:
        >>> block = zoo.blocks.CrossAttention(dim=16, heads=4)
        >>> block(torch.randn(2, 5, 16), torch.randn(2, 7, 16)).shape
        torch.Size([2, 5, 16])
    """

    make_linear: Callable[..., nn.Module] = Linear

    def __init__(
        self,
        *,
        dim: int,
        heads: int,
        head_dim: int = 0,
        bias: bool = True,
        out_bias: bool = True,
        scaled: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if heads < 1 or (not head_dim and dim % heads):
            raise ValueError(f"{dim} channels do not divide among {heads} heads; head_dim= gives them a width.")
        self.heads, self.head_dim = heads, head_dim or dim // heads
        self.dropout, self.scale = dropout, None if scaled else 1.0
        self.q = self.make_linear(dim, heads * self.head_dim, bias=bias)
        self.kv = self.make_linear(dim, 2 * heads * self.head_dim, bias=bias)
        self.proj = self.make_linear(heads * self.head_dim, dim, bias=out_bias)

    def extra_repr(self) -> str:
        return f"heads={self.heads} of {self.head_dim}"

    def forward(
        self, x: Tensor, memory: Tensor, *, mask: Tensor | None = None, cache: LayerCache | None = None
    ) -> Tensor:
        """Attend.

        Args:
            x (Tensor): tokens (B, N, dim).
            memory (Tensor): the encoder's tokens (T, M, dim).
            mask (Tensor | None): (T, M), True or 1 at tokens of `memory` to attend to. Default: None, all.
            cache (LayerCache | None): keeps keys and values of `memory`, which is read at the first call alone.
                Default: None.

        Returns:
            Tokens (B, N, dim).
        """
        return self.proj(self.read(self.q(x), lambda: self.kv(memory), mask, cache))

    def read(self, q: Tensor, kv: Callable[[], Tensor], mask: Tensor | None, cache: LayerCache | None) -> Tensor:
        """Between the projections: (B, N, heads * head_dim) to the same shape; `kv` gives (T, M, 2 * heads * head_dim).

        No query sees another one, so the queries of all rows of a text read its keys together.
        """
        keys, values = self._remembered(kv, cache)
        texts, rows, width = keys.shape[0], q.shape[0], self.heads * self.head_dim
        queries = q.reshape(texts, -1, self.heads, self.head_dim).transpose(1, 2)
        dropout = self.dropout if self.training else 0.0
        y = attend.full(queries, keys, values, keep=mask, dropout=dropout, scale=self.scale)
        return y.transpose(1, 2).reshape(rows, -1, width)

    def _remembered(self, kv: Callable[[], Tensor], cache: LayerCache | None) -> tuple[Tensor, Tensor]:
        if cache is not None and cache.memory is not None:
            return cache.memory
        made = kv()
        split = made.view(*made.shape[:2], 2 * self.heads, self.head_dim).transpose(1, 2)
        keys, values = split.split(self.heads, 1)
        if cache is not None:
            cache.memory = keys.contiguous(), values.contiguous()
        return keys, values
