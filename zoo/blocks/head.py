"""From features to class scores."""

import torch.nn as nn
from torch import Tensor

from zoo.blocks.activation import make_activation


class Hidden(nn.Module):
    """One linear layer and its activation: (B, in_features) to (B, out_features).

    What MobileNetV3 has behind its pool (Howard et al., 2019).
    """

    def __init__(self, *, in_features: int, out_features: int, activation: str = "hard_swish") -> None:
        super().__init__()
        self.fc = nn.Linear(in_features, out_features)
        self.act = make_activation(activation)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.fc(x))


class Classifier(nn.Module):
    """Dropout, then one linear layer: (B, in_features) to (B, num_classes)."""

    def __init__(self, *, in_features: int, num_classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(in_features, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.dropout(x))
