"""The rows of a decoder with integer weights; norms, positions and attention are those of the float rows."""

from __future__ import annotations

from typing import Any

import torch.nn as nn
from torch import Tensor

from zoo.blocks.attention import Attention
from zoo.blocks.embedding import TokenEmbedding
from zoo.blocks.tokens import TokenHead
from zoo.blocks.transformer import Mlp, TransformerBlock, activate
from zoo.engine.module import EngineModule
from zoo.engine.weight_only.layer import W4Linear, W8Linear, W8Table


class _Attention8(Attention):
    make_linear = W8Linear


class _Attention4(Attention):
    make_linear = W4Linear


class _Mlp8(Mlp):
    make_linear = W8Linear

    def forward(self, x: Tensor) -> Tensor:
        if self.gate is None:
            return super().forward(x)
        fc1, gate, fc2 = (layer for layer in (self.fc1, self.gate, self.fc2) if isinstance(layer, W8Linear))
        entered = fc1.enter(x)  # once, for both
        return fc2(activate(gate.product(entered), self.activation) * fc1.product(entered))


class _Mlp4(_Mlp8):
    make_linear = W4Linear


class W8TransformerBlock(EngineModule, TransformerBlock):
    """`TransformerBlock` with int8 weights."""

    make_attention = _Attention8
    make_mlp = _Mlp8


class W4TransformerBlock(EngineModule, TransformerBlock):
    """`TransformerBlock` with weights of 4 bits."""

    make_attention = _Attention4
    make_mlp = _Mlp4


class W8TokenEmbedding(EngineModule, TokenEmbedding):
    """`TokenEmbedding` with int8 vectors for the vocabulary; positions, segments and the norm stay floats."""

    tokens: W8Table

    def make_table(self, vocabulary: int, dim: int) -> nn.Module:
        return W8Table(vocabulary, dim)

    def project(self, x: Tensor) -> Tensor:
        return self.tokens.scores(x)


class W8TokenHead(EngineModule, TokenHead):
    """`TokenHead` with int8 weights, its own or the embedding's."""

    def make_linear(self, dim: int, outputs: int, bias: bool) -> Any:
        return W8Linear(dim, outputs, bias=bias)


class W4TokenHead(EngineModule, TokenHead):
    """`TokenHead` with weights of 4 bits of its own, or the embedding's int8."""

    def make_linear(self, dim: int, outputs: int, bias: bool) -> Any:
        return W4Linear(dim, outputs, bias=bias)
