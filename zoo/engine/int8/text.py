"""Integer forms of what stands at both ends of a language model. Shapes: B batch, N tokens, D width."""

from __future__ import annotations

from typing import Any

import torch.nn as nn
from torch import Tensor

from zoo.blocks.embedding import TargetEmbedding, TokenEmbedding
from zoo.blocks.tokens import TokenHead, TokenProjection
from zoo.engine.arithmetic import QParams
from zoo.engine.int8.tokens import StaticQParams, TokenLinear, TokenTable
from zoo.engine.module import EngineModule


class Int8TokenEmbedding(EngineModule, TokenEmbedding):
    """`TokenEmbedding` with integer vectors for the vocabulary; positions, segments and the norm stay floats."""

    tokens: TokenTable

    def make_table(self, vocabulary: int, dim: int) -> nn.Module:
        return TokenTable(vocabulary, dim)

    def project(self, x: Tensor, source: QParams | None = None) -> Tensor:
        """(..., D) to a score for each token of the vocabulary; codes by `source`, or by token where that is None."""
        return self.tokens.product(x, source)


class Int8TargetEmbedding(EngineModule, TargetEmbedding):
    """`TargetEmbedding` with integer vectors, its own or those that it is tied to."""

    tokens: TokenTable

    def make_table(self, vocabulary: int, dim: int) -> nn.Module:
        return TokenTable(vocabulary, dim)

    def project(self, x: Tensor, source: QParams | None = None) -> Tensor:
        """As `Int8TokenEmbedding.project`."""
        return self.tokens.product(x, source)


class DynamicTokenHead(EngineModule, TokenHead):
    """`TokenHead` with integer weights, its own or the embedding's; each token is ranged as it comes."""

    fc: TokenLinear | None

    def make_linear(self, dim: int, outputs: int, bias: bool) -> nn.Module:
        return TokenLinear(dim, outputs)

    def forward(self, x: Tensor, *, table: Any = None, last: bool = False) -> Tensor:
        x = x[:, -1:] if last else x
        return self.scaled(table.project(x, self.source) if self.fc is None else self.fc.product(x, self.source))

    @property
    def source(self) -> QParams | None:
        """How codes are made of what comes in; None: token by token."""
        return None


class Int8TokenHead(StaticQParams, DynamicTokenHead):
    """The same with codes that were ranged beforehand."""

    edge_count = 1

    @property
    def source(self) -> QParams | None:
        return self.qparams[0]

    def products(self) -> list[tuple[TokenLinear, QParams]]:
        return [] if self.fc is None else [(self.fc, self.qparams[0])]


class DynamicTokenProjection(EngineModule, TokenProjection):
    """A linear layer with integer weights; each token is ranged as it comes."""

    fc: TokenLinear

    def make_linear(self, dim: int, width: int) -> nn.Module:
        return TokenLinear(dim, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc.product(x, self.source)

    @property
    def source(self) -> QParams | None:
        """How codes are made of what comes in; None: token by token."""
        return None


class Int8TokenProjection(StaticQParams, DynamicTokenProjection):
    """The same with codes that were ranged beforehand."""

    edge_count = 1

    @property
    def source(self) -> QParams | None:
        return self.qparams[0]

    def products(self) -> list[tuple[TokenLinear, QParams]]:
        return [(self.fc, self.qparams[0])]
