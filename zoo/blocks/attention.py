"""Multi-head attention in its kinds, as one block.

Shapes: B batch, N tokens, D width.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn as nn
from torch import Tensor

from zoo.blocks import attend
from zoo.blocks.kv_cache import LayerCache
from zoo.blocks.linear import Linear
from zoo.blocks.positions import RelativeBias, turned, turns

ATTENTIONS = ("full", "sliding", "linear")
POSITIONS = ("none", "rotary", "relative")


class Attention(nn.Module):
    """Multi-head attention: a projection to queries, keys and values, attention, a projection back.

    Args:
        dim (int): width of the tokens.
        heads (int): heads of the queries.
        head_dim (int): width of a head. Default: 0, `dim / heads`.
        kv_heads (int): heads of keys and values; fewer than `heads` are shared (Ainslie et al., 2023; 1: Shazeer,
            2019). Default: 0, as many as `heads`.
        attention (str): "full" (Vaswani et al., 2017); "sliding", over the `window` nearest tokens (Beltagy et al.,
            2020); or "linear", by a kernel (Katharopoulos et al., 2020). The latter two take time that grows with N.
            Default: "full".
        window (int): tokens of the window, for "sliding" alone. Default: 0.
        causal (bool): whether a token attends to no later one. Default: False.
        positions (str): "rotary" (Su et al., 2021); "relative" (Raffel et al., 2020), for "full" attention; or "none",
            where positions are added before. Default: "none".
        rotary_base (float): the base of the rotary frequencies. Default: 10000.0.
        rotary_scaling (tuple[float, ...]): how they are slowed for longer texts: (), (factor,), or (factor, low, high,
            length) (`zoo.blocks.positions.slowed`). Default: ().
        qkv_bias (bool): whether the projection to queries, keys and values has a bias. Default: True.
        out_bias (bool): whether the projection back has a bias. Default: True.
        scaled (bool): whether products of queries and keys are divided by the root of `head_dim`; "full" attention
            goes without (T5: Raffel et al., 2020). Default: True.
        dropout (float): share of the attention set to zero in training. Default: 0.0.

    Shape:
        (B, N, dim) to (B, N, dim).

    Raises:
        ValueError: widths do not divide among the heads, an option is unknown, or two do not go together.

    Example:
        >>> block = zoo.blocks.Attention(dim=16, heads=4)
        >>> block(torch.randn(2, 5, 16)).shape
        torch.Size([2, 5, 16])
    """

    make_linear: Callable[..., nn.Module] = Linear

    def __init__(
        self,
        *,
        dim: int,
        heads: int,
        head_dim: int = 0,
        kv_heads: int = 0,
        attention: str = "full",
        window: int = 0,
        causal: bool = False,
        positions: str = "none",
        rotary_base: float = 10000.0,
        rotary_scaling: tuple[float, ...] = (),
        qkv_bias: bool = True,
        out_bias: bool = True,
        scaled: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if heads < 1 or (not head_dim and dim % heads):
            raise ValueError(f"{dim} channels do not divide among {heads} heads; head_dim= gives them a width.")
        head_dim, kv_heads = head_dim or dim // heads, kv_heads or heads
        _check(dim, heads, head_dim, kv_heads, attention, window, positions)
        if attention != "full" and not scaled:
            raise ValueError(f"Products without a scale belong to attention='full', not to {attention!r}.")
        self.heads, self.head_dim, self.kv_heads = heads, head_dim, kv_heads
        self.attention, self.window, self.causal = attention, window, causal
        self.positions, self.rotary_base, self.rotary_scaling = positions, rotary_base, tuple(rotary_scaling)
        self.dropout, self.scale = dropout, None if scaled else 1.0
        self.qkv = self.make_linear(dim, (heads + 2 * kv_heads) * head_dim, bias=qkv_bias)
        self.proj = self.make_linear(heads * head_dim, dim, bias=out_bias)
        self.bias = RelativeBias(heads=heads, causal=causal) if positions == "relative" else None

    def extra_repr(self) -> str:
        kind = f"{self.attention}" + (f" of {self.window}" if self.window else "") + (", causal" if self.causal else "")
        return f"{kind}, heads={self.heads} of {self.head_dim}, kv_heads={self.kv_heads}, positions={self.positions}"

    def forward(
        self, x: Tensor, *, mask: Tensor | None = None, positions: Tensor | None = None, cache: LayerCache | None = None
    ) -> Tensor:
        """Attend.

        Args:
            x (Tensor): tokens (B, N, dim).
            mask (Tensor | None): (B, L), True or 1 at tokens to attend to, those in the cache included. Default: None,
                all.
            positions (Tensor | None): (N,) or (B, N), the places of the tokens. Default: None, those after the cache.
            cache (LayerCache | None): takes the keys and values of `x`, and gives those of all tokens before. Default:
                None.

        Returns:
            Tokens (B, N, dim).
        """
        return self.proj(self.attend(self.qkv(x), mask=mask, positions=positions, cache=cache))

    def attend(
        self,
        qkv: Tensor,
        *,
        mask: Tensor | None = None,
        positions: Tensor | None = None,
        cache: LayerCache | None = None,
    ) -> Tensor:
        """Between the projections: (B, N, (heads + 2 * kv_heads) * head_dim) to (B, N, heads * head_dim)."""
        batch, tokens, _ = qkv.shape
        split = _by_head(qkv, self.heads + 2 * self.kv_heads, self.head_dim)
        if self.positions == "rotary":
            both, v = split.split([self.heads + self.kv_heads, self.kv_heads], 1)
            q, k = turned(both, *self._turns(qkv, positions, cache)).split([self.heads, self.kv_heads], 1)
        else:
            q, k, v = split.split([self.heads, self.kv_heads, self.kv_heads], 1)
        if cache is not None:
            k, v = cache.extend(k, v)
        dropout = self.dropout if self.training else 0.0
        if self.attention == "sliding":
            y = attend.sliding(q, k, v, window=self.window, causal=self.causal, keep=mask, dropout=dropout)
        elif self.attention == "linear":
            last = self.causal and tokens == 1
            y = attend.linear(q, k, v, causal=self.causal and not last, keep=mask)
        else:
            bias = self.biases(tokens, k.shape[2])
            y = attend.full(q, k, v, causal=self.causal, keep=mask, bias=bias, dropout=dropout, scale=self.scale)
        return (y if tokens == 1 else y.transpose(1, 2)).reshape(batch, tokens, self.heads * self.head_dim)

    def biases(self, queries: int, keys: int) -> Tensor | None:
        """What relative positions add to the products, (heads, queries, keys)."""
        return None if self.bias is None else self.bias(queries, keys)  # type: ignore[no-any-return]

    def _turns(self, qkv: Tensor, positions: Tensor | None, cache: LayerCache | None) -> tuple[Tensor, Tensor]:
        """The angles of rotary positions; layers with one cache share them."""
        settings = (self.head_dim, qkv.dtype, self.rotary_base, self.rotary_scaling)
        if positions is None:
            start = cache.length if cache is not None else 0
            positions = torch.arange(start, start + qkv.shape[1], device=qkv.device)
        return turns(positions, *settings) if cache is None else cache.shared(settings, positions, turns)


def _by_head(x: Tensor, heads: int, width: int) -> Tensor:
    """(B, N, heads * width) to (B, heads, N, width)."""
    batch, tokens, _ = x.shape
    if tokens == 1:
        return x.view(batch, heads, 1, width)
    return x.view(batch, tokens, heads, width).transpose(1, 2)


def _check(dim: int, heads: int, head_dim: int, kv_heads: int, attention: str, window: int, positions: str) -> None:
    if attention not in ATTENTIONS or positions not in POSITIONS:
        raise ValueError(
            f"attention is one of {ATTENTIONS} and positions one of {POSITIONS}, not {attention!r} and {positions!r}."
        )
    if head_dim < 1 or kv_heads < 1 or heads % kv_heads:
        raise ValueError(f"{dim} channels and {kv_heads} key-value heads do not divide among {heads} heads.")
    if (attention == "sliding") != (window > 0):
        raise ValueError(f"A window of tokens, above 0, belongs to attention='sliding', not {window} to {attention!r}.")
    if positions == "rotary" and head_dim % 2:
        raise ValueError(f"Rotary positions turn pairs of channels: head_dim is even, not {head_dim}.")
    if positions == "relative" and attention != "full":
        raise ValueError(f"Relative positions are added to all products of queries and keys, not in {attention!r}.")
