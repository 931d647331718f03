"""From features to class scores."""

import torch.nn as nn
from torch import Tensor

from zoo.blocks.activation import make_activation


class Hidden(nn.Module):
    """A linear layer and its activation, as MobileNetV3 has behind its pool (Howard et al., 2019).

    Args:
        in_features (int): width of the input.
        out_features (int): width of the output.
        activation (str): as for `ConvNormAct`. Default: "hard_swish".
        dropout (float): share of the output set to zero in training. Default: 0.0.

    Shape:
        (B, in_features) to (B, out_features).

    Raises:
        ValueError: `activation` is unknown.

    Example:
        >>> block = zoo.blocks.Hidden(in_features=16, out_features=32)
        >>> block(torch.randn(2, 16)).shape
        torch.Size([2, 32])
    """

    def __init__(
        self, *, in_features: int, out_features: int, activation: str = "hard_swish", dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.fc = nn.Linear(in_features, out_features)
        self.act = make_activation(activation)
        self.dropout = nn.Dropout(dropout) if dropout else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.act(self.fc(x))
        return y if self.dropout is None else self.dropout(y)


class Classifier(nn.Module):
    """Dropout, then a linear layer.

    Args:
        in_features (int): width of the input.
        num_classes (int): how many classes.
        dropout (float): share of the input set to zero in training. Default: 0.0.

    Shape:
        (B, in_features) to logits (B, num_classes).

    Example:
        >>> block = zoo.blocks.Classifier(in_features=16, num_classes=10)
        >>> block(torch.randn(2, 16)).shape
        torch.Size([2, 10])
    """

    def __init__(self, *, in_features: int, num_classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(in_features, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.dropout(x))
