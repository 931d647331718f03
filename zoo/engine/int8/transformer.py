"""`TransformerBlock` with integer weights: products in integers, softmax, norms and sums in floats.

Between the MLP's two layers flows uint8. Shapes: B batch, N tokens, D width.
"""

from __future__ import annotations

from typing import Any

import torch.nn as nn
from torch import Tensor

from zoo.blocks.attention import Attention
from zoo.blocks.kv_cache import LayerCache
from zoo.blocks.transformer import Mlp, TransformerBlock, activate
from zoo.engine.arithmetic import QParams
from zoo.engine.int8.tokens import StaticQParams, TokenLinear
from zoo.engine.module import EngineModule


def integer(in_features: int, out_features: int, *, bias: bool = True, activation: str = "none") -> nn.Module:
    """A bias there always is: zeros cost nothing."""
    return TokenLinear(in_features, out_features, activation=activation)


class IntegerAttention(Attention):
    make_linear = staticmethod(integer)

    def biases(self, queries: int, keys: int) -> Tensor | None:
        """Without gradients, whose attention is another kernel: its last bits would change codes."""
        found = super().biases(queries, keys)
        return None if found is None else found.detach()


class IntegerMlp(Mlp):
    fuses = True
    make_linear = staticmethod(integer)


def through_mlp(mlp: Any, x: Tensor, into_fc1: QParams | None, into_fc2: QParams | None) -> Tensor:
    """What an integer `Mlp` gives, with codes made as these say; None: token by token."""
    if mlp.gate is None:  # fc1 has the activation
        hidden = mlp.fc1.product(x, into_fc1, into_fc2)
    else:
        hidden = activate(mlp.gate.product(x, into_fc1), mlp.activation) * mlp.fc1.product(x, into_fc1)
    return mlp.fc2.product(hidden, into_fc2)  # type: ignore[no-any-return]


class DynamicTransformerBlock(EngineModule, TransformerBlock):
    """Every token is ranged as it comes, at each product: no calibration, and outliers cost their own token alone."""

    make_attention = IntegerAttention
    make_mlp = IntegerMlp

    def once(self, x: Tensor, mask: Tensor | None, positions: Tensor | None, cache: LayerCache | None) -> Tensor:
        if self.norm_first:
            x = x + self._attended(self.norm1(x), mask, positions, cache)
            return x + self._through_mlp(self.norm2(x))
        x = self.norm1(x + self._attended(x, mask, positions, cache))
        return self.norm2(x + self._through_mlp(x))

    def _sources(self) -> tuple[QParams | None, ...]:
        """How codes are made of what qkv, proj, fc1 and fc2 take."""
        return (None,) * 4

    def _attended(self, x: Tensor, mask: Tensor | None, positions: Tensor | None, cache: LayerCache | None) -> Tensor:
        into_qkv, into_proj, _, _ = self._sources()
        attn: Any = self.attn
        qkv = attn.qkv.product(x, into_qkv)
        return attn.proj.product(attn.attend(qkv, mask=mask, positions=positions, cache=cache), into_proj)

    def _through_mlp(self, x: Tensor) -> Tensor:
        return through_mlp(self.mlp, x, *self._sources()[2:])


class Int8TransformerBlock(StaticQParams, DynamicTransformerBlock):
    """What the four products take was ranged beforehand."""

    edge_count = 4

    def _sources(self) -> tuple[QParams | None, ...]:
        return self.qparams

    def products(self) -> list[tuple[TokenLinear, QParams]]:
        attn, mlp = self.attn, self.mlp
        into_qkv, into_proj, into_fc1, into_fc2 = self.qparams
        layers: list[Any] = [(attn.qkv, into_qkv), (attn.proj, into_proj), (mlp.fc1, into_fc1), (mlp.fc2, into_fc2)]
        return layers + ([(mlp.gate, into_fc1)] if mlp.gate is not None else [])
