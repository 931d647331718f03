"""From the stream of tokens to what is asked of it.

Shapes: B batch, N tokens, D width.
"""

from __future__ import annotations

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from zoo.blocks.embedding import TokenEmbedding
from zoo.blocks.linear import Linear
from zoo.blocks.transformer import make_norm

POOLS = ("first", "pair", "mean")


class TokenNorm(nn.Module):
    """The norm behind the last block: (B, N, dim) to (B, N, dim)."""

    def __init__(self, *, dim: int, norm: str = "layer", eps: float = 1e-6) -> None:
        super().__init__()
        self.norm = make_norm(norm, dim, eps)

    def forward(self, x: Tensor) -> Tensor:
        weight: Tensor = self.norm.weight  # type: ignore[assignment]
        return self.norm(x.to(weight.dtype))  # integer rows give float32 whatever the rest is


class TokenPool(nn.Module):
    """One vector a text or picture: (B, N, D) to (B, D).

    "first" takes the first token; "pair" averages the first two (DeiT's: Touvron et al., 2021); "mean" those that
    `mask` (B, N) keeps, as sentence embeddings do (Reimers and Gurevych, 2019), which `normalize` brings to length 1.
    """

    context = ("mask",)

    def __init__(self, *, pool: str = "first", normalize: bool = False) -> None:
        super().__init__()
        if pool not in POOLS:
            raise ValueError(f"pool is one of {POOLS}, not {pool!r}.")
        self.pool, self.normalize = pool, normalize

    def extra_repr(self) -> str:
        return f"{self.pool}, normalize={self.normalize}"

    def forward(self, x: Tensor, *, mask: Tensor | None = None) -> Tensor:
        if self.pool == "first":
            y = x[:, 0]
        elif self.pool == "pair":
            y = x[:, :2].mean(1)
        elif mask is None:
            y = x.mean(1)
        else:
            kept = mask[..., None].to(x.dtype)
            y = (x * kept).sum(1) / kept.sum(1).clamp_min(1e-9)
        return F.normalize(y, dim=-1) if self.normalize else y


class Pooler(nn.Module):
    """The first token through a linear layer and an activation: (B, N, dim) to (B, dim) (BERT: Devlin et al., 2019)."""

    def __init__(self, *, dim: int, activation: str = "tanh") -> None:
        super().__init__()
        self.activation = activation
        self.fc = nn.Linear(dim, dim)

    def extra_repr(self) -> str:
        return self.activation

    def forward(self, x: Tensor) -> Tensor:
        y = self.fc(x[:, 0].to(self.fc.weight.dtype))
        if self.activation == "tanh":
            return torch.tanh(y)
        return F.relu(y) if self.activation == "relu" else F.gelu(y)


class PairClassifier(nn.Module):
    """The mean of what the class token and the teacher's token say: (B, N, dim) to (B, num_classes).

    Of a DeiT that was distilled (Touvron et al., 2021): the second classifier has learned a teacher's answers.
    """

    def __init__(self, *, dim: int, num_classes: int) -> None:
        super().__init__()
        self.fc = nn.Linear(dim, num_classes)
        self.teacher = nn.Linear(dim, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return (self.fc(x[:, 0]) + self.teacher(x[:, 1])) / 2


class TokenHead(nn.Module):
    """Scores for every token: (B, N, dim) to (B, N, outputs).

    One that is `tied` to an embedding has no weights of its own, but multiplies by that table (Press and Wolf, 2017).
    `last` asks for the scores of the last token alone, (B, 1, outputs).
    """

    context = ("table", "last")

    def __init__(self, *, dim: int, outputs: int, bias: bool = True, dropout: float = 0.0, tied: str = "") -> None:
        super().__init__()
        self.dropout, self.tied = nn.Dropout(dropout), tied
        self.fc = None if tied else self.make_linear(dim, outputs, bias)
        self.finish()

    def finish(self) -> None:
        """Of the integer forms: what they hold besides."""

    def make_linear(self, dim: int, outputs: int, bias: bool) -> nn.Module:
        return Linear(dim, outputs, bias=bias)

    def extra_repr(self) -> str:
        return f"tied to {self.tied}" if self.tied else ""

    def forward(self, x: Tensor, *, table: TokenEmbedding | None = None, last: bool = False) -> Tensor:
        x = self.dropout(x[:, -1:] if last else x)
        if self.fc is not None:
            return self.fc(x)
        if table is None:
            raise ValueError(f"This head is tied to {self.tied!r}: the model hands it that embedding.")
        return table.project(x)
