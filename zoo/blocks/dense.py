"""What dense prediction needs beside convolutions: a gate from another map, and a head that answers for every pixel.

Shapes: B batch, C channels, H and W height and width.
"""

import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from zoo.blocks.joins import resized
from zoo.blocks.squeeze_excite import GATES


class ChannelGate(nn.Module):
    """Channels weighted by a linear function of the mean of another map (LR-ASPP: Howard et al., 2019).

    Args:
        channels (int): channels of what is weighted.
        gate_channels (int): channels of the tapped map that the weights come from.
        gate (str): "sigmoid" or "hard_sigmoid". Default: "sigmoid".

    Shape:
        (B, channels, H, W) and (B, gate_channels, H', W') to (B, channels, H, W).

    Raises:
        ValueError: `gate` is unknown.

    Example:
        >>> block = zoo.blocks.ChannelGate(channels=8, gate_channels=16)
        >>> block(torch.randn(1, 8, 4, 4), torch.randn(1, 16, 4, 4)).shape
        torch.Size([1, 8, 4, 4])
    """

    def __init__(self, *, channels: int, gate_channels: int, gate: str = "sigmoid") -> None:
        super().__init__()
        if gate not in GATES:
            raise ValueError(f"Unknown gate {gate!r}; choose one of {sorted(GATES)}.")
        self.fc = nn.Linear(gate_channels, channels, bias=False)
        self.gate = GATES[gate]()

    def forward(self, x: Tensor, tapped: Tensor) -> Tensor:
        """Scale each channel.

        Args:
            x (Tensor): the map, (B, C, H, W).
            tapped (Tensor): the map whose mean decides, (B, gate_channels, H', W').

        Returns:
            (B, C, H, W).
        """
        return x * self.gate(self.fc(tapped.mean((2, 3))))[:, :, None, None]  # type: ignore[no-any-return]


class SegmentationHead(nn.Module):
    """A score for each class at each pixel: a 1x1 convolution, then bilinearly the picture's size (Long et al., 2015).

    With `side_channels` the scores of a finer map are added, at its size (LR-ASPP: Howard et al., 2019).

    Args:
        in_channels (int): channels of the map.
        num_classes (int): number of classes.
        side_channels (int): channels of the finer map, which is tapped behind the picture; 0 for none. Default: 0.
        dropout (float): share of the map's channels that are dropped in training. Default: 0.0.

    Shape:
        (B, in_channels, h, w), the picture (B, 3, H, W) and (B, side_channels, h', w') to (B, num_classes, H, W).

    Example:
        >>> block = zoo.blocks.SegmentationHead(in_channels=8, num_classes=5)
        >>> block(torch.randn(1, 8, 4, 4), torch.randn(1, 3, 32, 32)).shape
        torch.Size([1, 5, 32, 32])
    """

    def __init__(self, *, in_channels: int, num_classes: int, side_channels: int = 0, dropout: float = 0.0) -> None:
        super().__init__()
        self.fc = nn.Conv2d(in_channels, num_classes, 1)
        self.side = nn.Conv2d(side_channels, num_classes, 1) if side_channels else None
        self.dropout = dropout

    def forward(self, x: Tensor, picture: Tensor, *finer: Tensor) -> Tensor:
        """Score every pixel.

        Args:
            x (Tensor): the map, (B, C, H, W).
            picture (Tensor): the network's input, whose size the scores get, (B, 3, H', W').
            *finer (Tensor): the finer map, with `side_channels` alone.

        Returns:
            (B, classes, H', W').
        """
        y = self.fc(F.dropout2d(x, self.dropout, self.training))
        if self.side is not None:
            y = resized(y, finer[0].shape[2:]) + self.side(*finer)
        return resized(y, picture.shape[2:])
