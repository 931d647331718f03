"""Transformer blocks: attention and MLP, each with its norm and residual sum.

Shapes: B batch, N tokens, D width.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from zoo.blocks.attention import Attention
from zoo.blocks.kv_cache import LayerCache
from zoo.blocks.linear import Linear

NORMS = ("layer", "rms")
MLP_ACTIVATIONS = ("gelu", "gelu_tanh", "relu", "swish")


class LayerNorm(nn.LayerNorm):
    """`nn.LayerNorm`, with fewer calls: in a step of a generation those take as long as the operator."""

    def forward(self, x: Tensor) -> Tensor:
        held = self._parameters
        return torch.layer_norm(x, self.normalized_shape, held["weight"], held["bias"], self.eps)


class Dropout(nn.Dropout):
    """`nn.Dropout`, which calls nothing outside of training."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) if self.training else x


def make_norm(name: str, dim: int, eps: float) -> nn.Module:
    """ "layer" (Ba et al., 2016) or "rms" (Zhang and Sennrich, 2019)."""
    if name not in NORMS:
        raise ValueError(f"Unknown norm {name!r}; choose one of {NORMS}.")
    return LayerNorm(dim, eps=eps) if name == "layer" else nn.RMSNorm(dim, eps=eps)


def activate(x: Tensor, activation: str) -> Tensor:
    match activation:
        case "gelu":
            return F.gelu(x)
        case "gelu_tanh":
            return F.gelu(x, approximate="tanh")
        case "relu":
            return F.relu(x)
        case "swish":
            return F.silu(x)
    raise ValueError(f"Unknown activation {activation!r}; choose one of {MLP_ACTIVATIONS}.")


class Mlp(nn.Module):
    """Linear layer, activation, linear layer; gated as in Shazeer, 2020.

    Args:
        dim (int): width of the tokens.
        mlp_dim (int): width between the layers.
        activation (str): "gelu", "gelu_tanh", "relu" or "swish". Default: "gelu".
        gated (bool): whether a second linear layer is multiplied with the activation. Default: False.
        bias (bool): whether the linear layers have biases. Default: True.

    Shape:
        (B, N, dim) to (B, N, dim).

    Raises:
        ValueError: `activation` is unknown.

    Example:
        >>> block = zoo.blocks.Mlp(dim=16, mlp_dim=64)
        >>> block(torch.randn(2, 5, 16)).shape
        torch.Size([2, 5, 16])
    """

    make_linear: Callable[..., nn.Module] = Linear
    fuses = False  # whether fc1 takes the activation along, where it is not gated

    def __init__(
        self, *, dim: int, mlp_dim: int, activation: str = "gelu", gated: bool = False, bias: bool = True
    ) -> None:
        super().__init__()
        if activation not in MLP_ACTIVATIONS:
            raise ValueError(f"Unknown activation {activation!r}; choose one of {MLP_ACTIVATIONS}.")
        self.activation = activation
        behind = {"activation": activation} if self.fuses and not gated else {}
        self.fc1 = self.make_linear(dim, mlp_dim, bias=bias, **behind)
        self.gate = self.make_linear(dim, mlp_dim, bias=bias) if gated else None
        self.fc2 = self.make_linear(mlp_dim, dim, bias=bias)

    def extra_repr(self) -> str:
        return f"activation={self.activation}"

    def forward(self, x: Tensor) -> Tensor:
        if self.gate is None:
            return self.fc2(activate(self.fc1(x), self.activation))
        return self.fc2(activate(self.gate(x), self.activation) * self.fc1(x))


class TransformerBlock(nn.Module):
    """Attention and MLP, each with its norm and residual sum (Vaswani et al., 2017).

    Args:
        dim (int): width of the tokens.
        heads (int): as for `Attention`.
        mlp_dim (int): width inside of the MLP.
        head_dim (int): as for `Attention`. Default: 0.
        kv_heads (int): as for `Attention`. Default: 0.
        attention (str): as for `Attention`. Default: "full".
        window (int): as for `Attention`. Default: 0.
        causal (bool): as for `Attention`. Default: False.
        positions (str): as for `Attention`. Default: "none".
        rotary_base (float): as for `Attention`. Default: 10000.0.
        rotary_scaling (tuple[float, ...]): as for `Attention`. Default: ().
        norm (str): "layer" (Ba et al., 2016) or "rms" (Zhang and Sennrich, 2019). Default: "layer".
        norm_first (bool): norm the input of each part (Xiong et al., 2020), not the sum after it. Default: True.
        activation (str): as for `Mlp`. Default: "gelu".
        gated (bool): as for `Mlp`. Default: False.
        qkv_bias (bool): as for `Attention`. Default: True.
        bias (bool): whether the other linear layers have biases. Default: True.
        scaled (bool): as for `Attention`. Default: True.
        eps (float): added to the variance in the norms. Default: 1e-6.
        dropout (float): share of the attention, and of what each part adds, set to zero in training. Default: 0.0.
        repeats (int): how many times the block runs, each time on what it gave, with the same weights (ALBERT: Lan et
            al., 2020). Default: 1.

    Shape:
        (B, N, dim) to (B, N, dim).

    Raises:
        ValueError: as for `Attention` and `Mlp`, `norm` is unknown, or a block that repeats is causal.

    Example:
        >>> block = zoo.blocks.TransformerBlock(dim=16, heads=4, mlp_dim=64)
        >>> block(torch.randn(2, 5, 16)).shape
        torch.Size([2, 5, 16])
    """

    context = ("mask", "positions", "cache")
    make_attention: type[Attention] = Attention
    make_mlp: type[Mlp] = Mlp

    def __init__(
        self,
        *,
        dim: int,
        heads: int,
        mlp_dim: int,
        head_dim: int = 0,
        kv_heads: int = 0,
        attention: str = "full",
        window: int = 0,
        causal: bool = False,
        positions: str = "none",
        rotary_base: float = 10000.0,
        rotary_scaling: tuple[float, ...] = (),
        norm: str = "layer",
        norm_first: bool = True,
        activation: str = "gelu",
        gated: bool = False,
        qkv_bias: bool = True,
        bias: bool = True,
        scaled: bool = True,
        eps: float = 1e-6,
        dropout: float = 0.0,
        repeats: int = 1,
    ) -> None:
        super().__init__()
        if repeats < 1 or (repeats > 1 and causal):
            raise ValueError(f"A block runs once or more, and a causal one once, not {repeats} times.")
        self.norm_first, self.repeats = norm_first, repeats
        self.attn = self.make_attention(
            dim=dim,
            heads=heads,
            head_dim=head_dim,
            kv_heads=kv_heads,
            attention=attention,
            window=window,
            causal=causal,
            positions=positions,
            rotary_base=rotary_base,
            rotary_scaling=rotary_scaling,
            qkv_bias=qkv_bias,
            out_bias=bias,
            scaled=scaled,
            dropout=dropout,
        )
        self.mlp = self.make_mlp(dim=dim, mlp_dim=mlp_dim, activation=activation, gated=gated, bias=bias)
        self.norm1 = make_norm(norm, dim, eps)
        self.norm2 = make_norm(norm, dim, eps)
        self.dropout = Dropout(dropout)
        self.finish()

    def finish(self) -> None:
        """Hook of the integer forms, which create more state here."""

    def extra_repr(self) -> str:
        return f"norm_first={self.norm_first}" + (f", repeats={self.repeats}" if self.repeats > 1 else "")

    def forward(
        self, x: Tensor, *, mask: Tensor | None = None, positions: Tensor | None = None, cache: LayerCache | None = None
    ) -> Tensor:
        """Run attention and MLP.

        Args:
            x (Tensor): tokens (B, N, dim).
            mask (Tensor | None): as for `Attention.forward`. Default: None.
            positions (Tensor | None): as for `Attention.forward`. Default: None.
            cache (LayerCache | None): as for `Attention.forward`. Default: None.

        Returns:
            Tokens (B, N, dim).
        """
        for _ in range(self.repeats):
            x = self.once(x, mask, positions, cache)
        return x

    def once(self, x: Tensor, mask: Tensor | None, positions: Tensor | None, cache: LayerCache | None) -> Tensor:
        """What `forward` gives, of a block that runs one time."""
        if self.norm_first:
            x = x + self.dropout(self.attn(self.norm1(x), mask=mask, positions=positions, cache=cache))
            return x + self.dropout(self.mlp(self.norm2(x)))
        x = self.norm1(x + self.dropout(self.attn(x, mask=mask, positions=positions, cache=cache)))
        return self.norm2(x + self.dropout(self.mlp(x)))
