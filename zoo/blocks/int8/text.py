"""Integer forms of what stands at both ends of a language model. Shapes: B batch, N tokens, D width."""

from __future__ import annotations

from typing import Any

import torch.nn as nn
from torch import Tensor

from zoo.blocks.embedding import TokenEmbedding
from zoo.blocks.int8.arithmetic import Edge
from zoo.blocks.int8.layer import Int8Module
from zoo.blocks.int8.tokens import StaticEdges, TokenLinear, TokenTable
from zoo.blocks.tokens import TokenHead


class Int8TokenEmbedding(Int8Module, TokenEmbedding):
    """`TokenEmbedding` with integer vectors for the vocabulary; positions, segments and the norm stay floats."""

    tokens: TokenTable

    def make_table(self, vocabulary: int, dim: int) -> nn.Module:
        return TokenTable(vocabulary, dim)

    def project(self, x: Tensor, source: Edge | None = None) -> Tensor:
        """(..., D) to a score for each token of the vocabulary; codes by `source`, or by token where that is None."""
        return self.tokens.product(x, source)


class DynamicTokenHead(Int8Module, TokenHead):
    """`TokenHead` with integer weights, its own or the embedding's; each token is ranged as it comes."""

    fc: TokenLinear | None

    def make_linear(self, dim: int, outputs: int, bias: bool) -> nn.Module:
        return TokenLinear(dim, outputs)

    def forward(self, x: Tensor, *, table: Any = None, last: bool = False) -> Tensor:
        x = x[:, -1:] if last else x
        return table.project(x, self.source) if self.fc is None else self.fc.product(x, self.source)

    @property
    def source(self) -> Edge | None:
        """How codes are made of what comes in; None: token by token."""
        return None


class Int8TokenHead(StaticEdges, DynamicTokenHead):
    """The same with codes that were ranged beforehand."""

    edge_count = 1

    @property
    def source(self) -> Edge | None:
        return self.edge_list[0]

    def products(self) -> list[tuple[TokenLinear, Edge]]:
        return [] if self.fc is None else [(self.fc, self.edge_list[0])]
