"""Two streams side by side, and what joins them (FinalMLP: Mao et al., 2023).

Shapes: B batch, D width of all features' vectors.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from zoo.blocks.linear import Multiplying
from zoo.blocks.traced import traced


class FeatureGate(Multiplying):
    """Weigh the entries of all vectors for one stream: x * 2 sigmoid(MLP(context)) (FinalMLP: Mao et al., 2023).

    Args:
        dims (tuple[int, ...]): the width of each feature's vectors, one behind the other.
        hidden (int): width between the two layers of the gate.
        context_features (int): the width of what the gate sees.
        context (tuple[int, ...]): the features that the gate sees, by their places; a learned vector where there are
            none. Default: none.

    Shape:
        (B, sum of dims) to (B, sum of dims).

    Raises:
        ValueError: the vectors of `context` are not `context_features` wide together.

    Example:
        >>> block = zoo.blocks.FeatureGate(dims=(8, 8, 8), hidden=16, context=(1,), context_features=8)
        >>> block(torch.randn(2, 24)).shape
        torch.Size([2, 24])
    """

    make_linear: Callable[..., nn.Module] = nn.Linear

    def __init__(
        self, *, dims: tuple[int, ...], hidden: int, context_features: int, context: tuple[int, ...] = ()
    ) -> None:
        super().__init__()
        if context and sum(dims[place] for place in context) != context_features:
            raise ValueError(f"The features {context} of {dims} are not {context_features} wide together.")
        ends = list(accumulate(dims))
        self.parts = tuple((ends[place] - dims[place], ends[place]) for place in context)
        self.learned = nn.Parameter(torch.zeros(1, context_features)) if not context else None
        if self.learned is not None:
            nn.init.normal_(self.learned, 0.0, 0.1)  # at 0 the layers behind it would not learn
        self.fc1 = self.make_linear(context_features, hidden)
        self.fc2 = self.make_linear(hidden, sum(dims))
        self.finish()

    def forward(self, x: Tensor) -> Tensor:
        if self.learned is not None:
            seen: Tensor = self.learned
        else:
            seen = torch.cat([x[:, first:last] for first, last in self.parts], 1)
        hidden = F.relu(self.product(self.fc1, seen, 0))
        return x * (2.0 * torch.sigmoid(self.product(self.fc2, hidden, 1)))


class LogitHead(Multiplying):
    """The logits of several parts of a network, added up: of linear layers, and as they come.

    Args:
        in_features (int): width of the input.
        num_classes (int): how many logits. Default: 1.
        side_features (int): width of a second input, which has a linear layer too; 0 for none. Default: 0.
        summands (int): how many logits of other parts are added. Default: 0.
        dropout (float): share of the input set to zero in training. Default: 0.0.

    Shape:
        (B, in_features), then (B, side_features) if there are some, then as many (B, num_classes) as `summands`, to
        (B, num_classes).

    Example:
        >>> block = zoo.blocks.LogitHead(in_features=8, summands=1)
        >>> block(torch.randn(2, 8), torch.randn(2, 1)).shape
        torch.Size([2, 1])
    """

    make_linear: Callable[..., nn.Module] = nn.Linear

    def __init__(
        self,
        *,
        in_features: int,
        num_classes: int = 1,
        side_features: int = 0,
        summands: int = 0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.summands = summands
        self.dropout = nn.Dropout(dropout)
        self.fc = self.make_linear(in_features, num_classes)
        self.side = self.make_linear(side_features, num_classes, bias=False) if side_features else None
        self.finish()

    def forward(self, x: Tensor, *tapped: Tensor) -> Tensor:
        """Add up the logits.

        Args:
            x (Tensor): the input, (B, in_features).
            *tapped (Tensor): the second input, if there is one, and the logits of other parts.

        Returns:
            (B, num_classes).
        """
        y = self.product(self.fc, self.dropout(x), 0)
        if self.side is not None:
            y = y + self.product(self.side, tapped[0], 1)
            tapped = tapped[1:]
        if len(tapped) > 1 and traced():  # OpenVINO's compiler crashes on several additions behind some towers
            return torch.stack([y, *tapped]).sum(0)
        for one in tapped:
            y = y + one
        return y


class BilinearHead(Multiplying):
    """One logit of two streams: of each by itself, and of their products, head by head (Mao et al., 2023).

    Args:
        in_features (int): width of the input, the second stream.
        side_features (int): width of the first stream.
        num_classes (int): how many logits: 1. Default: 1.
        heads (int): parts of the streams that are multiplied with each other. Default: 1.

    Shape:
        (B, in_features) and (B, side_features) to (B, 1).

    Raises:
        ValueError: `heads` do not divide a width, or there are more logits.

    Example:
        >>> block = zoo.blocks.BilinearHead(in_features=8, side_features=4, heads=2)
        >>> block(torch.randn(2, 8), torch.randn(2, 4)).shape
        torch.Size([2, 1])
    """

    make_linear: Callable[..., nn.Module] = nn.Linear

    def __init__(self, *, in_features: int, side_features: int, num_classes: int = 1, heads: int = 1) -> None:
        super().__init__()
        if in_features % heads or side_features % heads or num_classes != 1:
            raise ValueError(f"{heads} heads do not divide {in_features} and {side_features}, or not 1 logit.")
        self.heads = heads
        self.weight = nn.Parameter(torch.empty(heads, in_features // heads, side_features // heads))
        self.fc = self.make_linear(in_features, num_classes)
        self.side = self.make_linear(side_features, num_classes, bias=False)
        nn.init.normal_(self.weight, 0.0, 0.02)
        self.finish()

    def forward(self, x: Tensor, tapped: Tensor) -> Tensor:
        """Join the streams.

        Args:
            x (Tensor): the second stream, (B, in_features).
            tapped (Tensor): the first stream, (B, side_features).

        Returns:
            (B, 1).
        """
        y = self.product(self.fc, x, 0) + self.product(self.side, tapped, 1)
        for weight, one, other in zip(self.weight, x.chunk(self.heads, 1), tapped.chunk(self.heads, 1), strict=True):
            y = y + (F.linear(one, weight.mT) * other).sum(1, keepdim=True)
        return y
