"""From a feature map to class scores."""

import torch.nn as nn
from torch import Tensor


class GlobalPool(nn.Module):
    """Mean over height and width: (B, C, H, W) to (B, C) (Network in Network: Lin et al., 2014)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


class Classifier(nn.Module):
    """Dropout, then one linear layer: (B, in_features) to (B, num_classes)."""

    def __init__(self, *, in_features: int, num_classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(in_features, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.dropout(x))
