"""Heads of Transformers: norm, pooling and scores.

Shapes: B batch, N tokens, D width.
"""

from __future__ import annotations

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from zoo.blocks.embedding import TokenEmbedding
from zoo.blocks.linear import Linear
from zoo.blocks.transformer import Dropout, make_norm

POOLS = ("first", "pair", "mean", "max", "mean_sqrt", "weighted_mean", "last")


class TokenProjection(nn.Module):
    """A linear layer on every token: from a narrow embedding to wider blocks (ALBERT: Lan et al., 2020).

    Args:
        dim (int): width of the tokens that come in.
        width (int): width of those that go out.

    Shape:
        (B, N, dim) to (B, N, width).

    Example:
        >>> block = zoo.blocks.TokenProjection(dim=16, width=64)
        >>> block(torch.randn(2, 5, 16)).shape
        torch.Size([2, 5, 64])
    """

    def __init__(self, *, dim: int, width: int) -> None:
        super().__init__()
        self.fc = self.make_linear(dim, width)
        self.finish()

    def finish(self) -> None:
        """Hook of the integer forms, which create more state here."""

    def make_linear(self, dim: int, width: int) -> nn.Module:
        return Linear(dim, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x)  # type: ignore[no-any-return]


class TokenNorm(nn.Module):
    """The norm after the last block.

    Args:
        dim (int): width of the tokens.
        norm (str): "layer" or "rms". Default: "layer".
        eps (float): added to the variance. Default: 1e-6.

    Shape:
        (B, N, dim) to (B, N, dim).

    Raises:
        ValueError: `norm` is unknown.

    Example:
        >>> block = zoo.blocks.TokenNorm(dim=16)
        >>> block(torch.randn(2, 5, 16)).shape
        torch.Size([2, 5, 16])
    """

    def __init__(self, *, dim: int, norm: str = "layer", eps: float = 1e-6) -> None:
        super().__init__()
        self.norm = make_norm(norm, dim, eps)

    def forward(self, x: Tensor) -> Tensor:
        weight: Tensor = self.norm.weight  # type: ignore[assignment]
        return self.norm(x.to(weight.dtype))  # integer rows return float32, other rows may be half


class TokenPool(nn.Module):
    """One vector for each text or picture.

    Args:
        pool (str): the tokens that `mask` keeps become one: "first"; "last"; "mean" (Reimers and Gurevych, 2019);
            "max"; "mean_sqrt", the sum divided by the root of their number; "weighted_mean", weighted by their place
            (SGPT: Muennighoff, 2022). "pair" is the mean of the first two (DeiT: Touvron et al., 2021). Default:
            "first".
        normalize (bool): whether the vector is scaled to length 1. Default: False.

    Shape:
        (B, N, D) to (B, D).

    Raises:
        ValueError: `pool` is unknown.

    Example:
        >>> block = zoo.blocks.TokenPool(pool="mean", normalize=True)
        >>> block(torch.randn(2, 5, 16)).shape
        torch.Size([2, 16])
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
        """Pool the tokens.

        Args:
            x (Tensor): tokens (B, N, D).
            mask (Tensor | None): (B, N), True or 1 at tokens that count. Default: None, all.

        Returns:
            Vectors (B, D).
        """
        if self.pool == "pair":
            y = x[:, :2].mean(1)
        elif self.pool == "max":
            y = (x if mask is None else x.masked_fill(mask[..., None] == 0, torch.finfo(x.dtype).min)).amax(1)
        elif self.pool in ("first", "last"):
            y = self._one(x, mask)
        elif mask is None and self.pool == "mean":
            y = x.mean(1)
        else:
            kept = torch.ones_like(x[..., :1]) if mask is None else mask[..., None].to(x.dtype)
            if self.pool == "weighted_mean":  # counted from the first token that is kept
                kept = kept * kept.cumsum(1)
            count = kept.sum(1).clamp_min(1e-9)
            y = (x * kept).sum(1) / (count.sqrt() if self.pool == "mean_sqrt" else count)
        return F.normalize(y, dim=-1) if self.normalize else y

    def _one(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """The first or the last token that is kept; of a text without any, the first or the last of all."""
        if mask is None:
            return x[:, 0] if self.pool == "first" else x[:, -1]
        kept = mask.to(torch.int32)
        place = kept.argmax(1) if self.pool == "first" else x.shape[1] - 1 - kept.flip(1).argmax(1)
        return x.gather(1, place[:, None, None].expand(-1, 1, x.shape[2])).squeeze(1)


class Pooler(nn.Module):
    """The first token through a linear layer and an activation (BERT: Devlin et al., 2019).

    Args:
        dim (int): width of the tokens.
        activation (str): "tanh", "relu" or "gelu". Default: "tanh".

    Shape:
        (B, N, dim) to (B, dim).

    Example:
        >>> block = zoo.blocks.Pooler(dim=16)
        >>> block(torch.randn(2, 5, 16)).shape
        torch.Size([2, 16])
    """

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
    """The classifiers of a distilled DeiT (Touvron et al., 2021): the mean of their answers.

    One classifies the class token, the other, trained on a teacher's answers, the teacher's token.

    Args:
        dim (int): width of the tokens.
        num_classes (int): how many classes.

    Shape:
        (B, N, dim), of which the first two tokens are read, to logits (B, num_classes).

    Example:
        >>> block = zoo.blocks.PairClassifier(dim=16, num_classes=10)
        >>> block(torch.randn(2, 5, 16)).shape
        torch.Size([2, 10])
    """

    def __init__(self, *, dim: int, num_classes: int) -> None:
        super().__init__()
        self.fc = nn.Linear(dim, num_classes)
        self.teacher = nn.Linear(dim, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return (self.fc(x[:, 0]) + self.teacher(x[:, 1])) / 2


class TokenHead(nn.Module):
    """A score of every token for each output, such as the next word.

    Args:
        dim (int): width of the tokens.
        outputs (int): scores of a token.
        bias (bool): whether the linear layer has a bias. Default: True.
        dropout (float): share of the input set to zero in training. Default: 0.0.
        tied (str): the name of the embedding whose table is the weight (Press and Wolf, 2017). Default: "", a weight of
            its own.
        scale (float): what the products with the weight are multiplied by, before a tied head's bias is added.
            Default: 1.0.

    Shape:
        (B, N, dim) to (B, N, outputs).

    Raises:
        ValueError: the head is tied, and `forward` is given no table.

    Example:
        >>> block = zoo.blocks.TokenHead(dim=16, outputs=100)
        >>> block(torch.randn(2, 5, 16)).shape
        torch.Size([2, 5, 100])
    """

    context = ("table", "last")

    def __init__(
        self,
        *,
        dim: int,
        outputs: int,
        bias: bool = True,
        dropout: float = 0.0,
        tied: str = "",
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.dropout, self.tied, self.scale = Dropout(dropout), tied, scale
        self.fc = None if tied else self.make_linear(dim, outputs, bias)
        self.bias = nn.Parameter(torch.zeros(outputs)) if tied and bias else None
        self.finish()

    def finish(self) -> None:
        """Hook of the integer forms, which create more state here."""

    def make_linear(self, dim: int, outputs: int, bias: bool) -> nn.Module:
        return Linear(dim, outputs, bias=bias)

    def extra_repr(self) -> str:
        tied = f"tied to {self.tied}" if self.tied else ""
        return ", ".join(filter(None, (tied, f"scale={self.scale:g}" if self.scale != 1 else "")))

    def scaled(self, y: Tensor) -> Tensor:
        """Products with the weight, as scores."""
        y = y if self.scale == 1 else y * self.scale
        return y if self.bias is None else y + self.bias

    def forward(self, x: Tensor, *, table: TokenEmbedding | None = None, last: bool = False) -> Tensor:
        """Score the tokens.

        Args:
            x (Tensor): tokens (B, N, dim).
            table (TokenEmbedding | None): the embedding that the head is tied to. Default: None.
            last (bool): whether only the last token is scored. Default: False.

        Returns:
            Scores (B, N, outputs), with `last` (B, 1, outputs).

        Raises:
            ValueError: the head is tied and gets no `table`.
        """
        x = self.dropout(x[:, -1:] if last else x)
        if self.fc is not None:
            return self.scaled(self.fc(x))
        if table is None:
            raise ValueError(f"This head is tied to {self.tied!r}: the model hands it that embedding.")
        return self.scaled(table.project(x))
