"""Squeeze-and-excite: channels reweighted by their mean over the picture."""

import torch.nn as nn
from torch import Tensor

from zoo.blocks.activation import make_activation

GATES: dict[str, type[nn.Module]] = {"sigmoid": nn.Sigmoid, "hard_sigmoid": nn.Hardsigmoid}


class SqueezeExcite(nn.Module):
    """Global average, two 1x1 convolutions, and a gate from 0 to 1 for every channel (Hu et al., 2018).

    Args:
        channels (int): channels of the input and the output.
        reduced_channels (int): channels between the two convolutions.
        activation (str): the activation between them, as for `ConvNormAct`. Default: "relu".
        gate (str): "sigmoid" or "hard_sigmoid". Default: "sigmoid".

    Shape:
        (B, channels, H, W) to (B, channels, H, W).

    Raises:
        ValueError: `activation` or `gate` is unknown.

    Example:
        >>> block = zoo.blocks.SqueezeExcite(channels=16, reduced_channels=4)
        >>> block(torch.randn(1, 16, 8, 8)).shape
        torch.Size([1, 16, 8, 8])
    """

    def __init__(
        self, *, channels: int, reduced_channels: int, activation: str = "relu", gate: str = "sigmoid"
    ) -> None:
        super().__init__()
        if gate not in GATES:
            raise ValueError(f"Unknown gate {gate!r}; choose one of {sorted(GATES)}.")
        self.reduce = nn.Conv2d(channels, reduced_channels, 1)
        self.act = make_activation(activation)
        self.expand = nn.Conv2d(reduced_channels, channels, 1)
        self.gate = GATES[gate]()

    def forward(self, x: Tensor) -> Tensor:
        pooled = x.mean((2, 3), keepdim=True)  # (B, C, 1, 1)
        return x * self.gate(self.expand(self.act(self.reduce(pooled))))
