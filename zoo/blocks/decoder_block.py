"""The block of a decoder behind an encoder. Shapes: B rows, T texts, N and M tokens, D width."""

from __future__ import annotations

import torch.nn as nn
from torch import Tensor

from zoo.blocks.attention import Attention
from zoo.blocks.cross_attention import CrossAttention
from zoo.blocks.kv_cache import LayerCache
from zoo.blocks.transformer import Dropout, Mlp, make_norm


class DecoderBlock(nn.Module):
    """Causal attention, attention to the encoder's tokens and MLP, each with its norm and residual sum (Vaswani et al.,
    2017).

    Args:
        dim (int): width of the tokens, those of the encoder too.
        heads (int): as for `Attention`.
        mlp_dim (int): width inside of the MLP.
        head_dim (int): as for `Attention`, of both attentions. Default: 0.
        kv_heads (int): as for `Attention`. Default: 0.
        cross_heads (int): heads of the attention to the encoder's tokens. Default: 0, as many as `heads`.
        positions (str): as for `Attention`. Default: "none".
        norm (str): "layer" or "rms". Default: "layer".
        norm_first (bool): as for `TransformerBlock`. Default: True.
        activation (str): as for `Mlp`. Default: "gelu".
        gated (bool): as for `Mlp`. Default: False.
        qkv_bias (bool): whether queries, keys and values have biases. Default: True.
        bias (bool): whether the other linear layers have biases. Default: True.
        scaled (bool): as for `Attention`. Default: True.
        eps (float): added to the variance in the norms. Default: 1e-6.
        dropout (float): share of the attention, and of what each part adds, set to zero in training. Default: 0.0.

    Shape:
        (B, N, dim) and (T, M, dim) to (B, N, dim).

    Raises:
        ValueError: as for `Attention`, `CrossAttention` and `Mlp`, or `norm` is unknown.

    Example:
        >>> block = zoo.blocks.DecoderBlock(dim=16, heads=4, mlp_dim=64)
        >>> block(torch.randn(2, 5, 16), torch.randn(2, 7, 16)).shape
        torch.Size([2, 5, 16])
    """

    context = ("mask", "memory_mask", "positions", "cache")
    make_attention: type[Attention] = Attention
    make_cross: type[CrossAttention] = CrossAttention
    make_mlp: type[Mlp] = Mlp

    def __init__(
        self,
        *,
        dim: int,
        heads: int,
        mlp_dim: int,
        head_dim: int = 0,
        kv_heads: int = 0,
        cross_heads: int = 0,
        positions: str = "none",
        norm: str = "layer",
        norm_first: bool = True,
        activation: str = "gelu",
        gated: bool = False,
        qkv_bias: bool = True,
        bias: bool = True,
        scaled: bool = True,
        eps: float = 1e-6,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.norm_first = norm_first
        self.attn = self.make_attention(
            dim=dim,
            heads=heads,
            head_dim=head_dim,
            kv_heads=kv_heads,
            causal=True,
            positions=positions,
            qkv_bias=qkv_bias,
            out_bias=bias,
            scaled=scaled,
            dropout=dropout,
        )
        self.cross = self.make_cross(
            dim=dim,
            heads=cross_heads or heads,
            head_dim=head_dim,
            bias=qkv_bias,
            out_bias=bias,
            scaled=scaled,
            dropout=dropout,
        )
        self.mlp = self.make_mlp(dim=dim, mlp_dim=mlp_dim, activation=activation, gated=gated, bias=bias)
        self.norm1, self.norm2, self.norm3 = (make_norm(norm, dim, eps) for _ in range(3))
        self.dropout = Dropout(dropout)
        self.finish()

    def finish(self) -> None:
        """Hook of the integer forms, which create more state here."""

    def extra_repr(self) -> str:
        return f"norm_first={self.norm_first}"

    def forward(
        self,
        x: Tensor,
        memory: Tensor,
        *,
        mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        positions: Tensor | None = None,
        cache: LayerCache | None = None,
    ) -> Tensor:
        """Run both attentions and the MLP.

        Args:
            x (Tensor): tokens (B, N, dim).
            memory (Tensor): the encoder's tokens (T, M, dim).
            mask (Tensor | None): as for `Attention.forward`. Default: None.
            memory_mask (Tensor | None): as `mask` of `CrossAttention.forward`. Default: None.
            positions (Tensor | None): as for `Attention.forward`. Default: None.
            cache (LayerCache | None): as for `Attention.forward` and `CrossAttention.forward`. Default: None.

        Returns:
            Tokens (B, N, dim).
        """
        if self.norm_first:
            x = x + self.dropout(self.attended(self.norm1(x), mask, positions, cache))
            x = x + self.dropout(self.crossed(self.norm2(x), memory, memory_mask, cache))
            return x + self.dropout(self.through_mlp(self.norm3(x)))
        x = self.norm1(x + self.dropout(self.attended(x, mask, positions, cache)))
        x = self.norm2(x + self.dropout(self.crossed(x, memory, memory_mask, cache)))
        return self.norm3(x + self.dropout(self.through_mlp(x)))

    def attended(self, x: Tensor, mask: Tensor | None, positions: Tensor | None, cache: LayerCache | None) -> Tensor:
        """What attention to the tokens before gives."""
        return self.attn(x, mask=mask, positions=positions, cache=cache)

    def crossed(self, x: Tensor, memory: Tensor, mask: Tensor | None, cache: LayerCache | None) -> Tensor:
        """What attention to the encoder's tokens gives."""
        return self.cross(x, memory, mask=mask, cache=cache)

    def through_mlp(self, x: Tensor) -> Tensor:
        """What the MLP gives."""
        return self.mlp(x)
