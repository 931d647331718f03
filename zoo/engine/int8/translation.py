"""`DecoderBlock` with integer weights. The products of an encoder's tokens are computed once for a text.

Shapes: B rows, T texts, N and M tokens, D width.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from zoo.blocks.cross_attention import CrossAttention
from zoo.blocks.decoder_block import DecoderBlock
from zoo.blocks.kv_cache import LayerCache
from zoo.engine.arithmetic import QParams
from zoo.engine.int8.tokens import StaticQParams, TokenLinear
from zoo.engine.int8.transformer import IntegerAttention, IntegerMlp, integer, through_mlp
from zoo.engine.module import EngineModule


class _CrossAttention(CrossAttention):
    make_linear = staticmethod(integer)


class DynamicDecoderBlock(EngineModule, DecoderBlock):
    """Every token is ranged as it comes, at each product."""

    make_attention = IntegerAttention
    make_cross = _CrossAttention
    make_mlp = IntegerMlp

    def _sources(self) -> tuple[QParams | None, ...]:
        """How codes are made of what qkv, proj, q, kv and proj of the encoder's tokens, fc1 and fc2 take."""
        return (None,) * 7

    def attended(self, x: Tensor, mask: Tensor | None, positions: Tensor | None, cache: LayerCache | None) -> Tensor:
        into_qkv, into_proj = self._sources()[:2]
        attn: Any = self.attn
        qkv = attn.qkv.product(x, into_qkv)
        return attn.proj.product(attn.attend(qkv, mask=mask, positions=positions, cache=cache), into_proj)  # type: ignore[no-any-return]

    def crossed(self, x: Tensor, memory: Tensor, mask: Tensor | None, cache: LayerCache | None) -> Tensor:
        into_q, into_kv, into_proj = self._sources()[2:5]
        cross: Any = self.cross
        q = cross.q.product(x, into_q)
        return cross.proj.product(cross.read(q, lambda: cross.kv.product(memory, into_kv), mask, cache), into_proj)  # type: ignore[no-any-return]

    def through_mlp(self, x: Tensor) -> Tensor:
        return through_mlp(self.mlp, x, *self._sources()[5:])


class Int8DecoderBlock(StaticQParams, DynamicDecoderBlock):
    """What the seven products take was ranged beforehand."""

    edge_count = 7

    def _sources(self) -> tuple[QParams | None, ...]:
        return self.qparams

    def products(self) -> list[tuple[TokenLinear, QParams]]:
        attn, cross, mlp = self.attn, self.cross, self.mlp
        layers: list[Any] = [attn.qkv, attn.proj, cross.q, cross.kv, cross.proj, mlp.fc1, mlp.fc2]
        gate: list[Any] = [(mlp.gate, self.qparams[5])] if mlp.gate is not None else []
        return [*zip(layers, self.qparams, strict=True), *gate]
