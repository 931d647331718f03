"""What joins maps of several rows, and what parts them: sums, concatenations, slices, upsampling.

Shapes: B batch, C channels, H and W height and width.
"""

from collections.abc import Sequence

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from zoo.blocks.activation import make_activation

MODES = ("bilinear", "nearest")


class Add(nn.Module):
    """The sum of two maps, and an activation (He et al., 2016; Lin et al., 2017).

    Args:
        channels (int): channels of both maps.
        activation (str): what follows the sum, as for `ConvNormAct`. Default: "none".

    Shape:
        Two of (B, C, H, W) to (B, C, H, W).

    Raises:
        ValueError: `activation` is unknown.

    Example:
        >>> block = zoo.blocks.Add(channels=8)
        >>> block(torch.ones(1, 8, 4, 4), torch.ones(1, 8, 4, 4)).mean()
        tensor(2.)
    """

    def __init__(self, *, channels: int, activation: str = "none") -> None:
        super().__init__()
        self.channels = channels
        self.act = make_activation(activation)

    def forward(self, x: Tensor, tapped: Tensor) -> Tensor:
        """Add.

        Args:
            x (Tensor): what the row before gives, (B, C, H, W).
            tapped (Tensor): the tapped map, (B, C, H, W).

        Returns:
            (B, C, H, W).
        """
        return self.act(x + tapped)  # type: ignore[no-any-return]


class Concat(nn.Module):
    """Maps of the same size, one behind the other along the channels (U-Net: Ronneberger et al., 2015).

    Args:
        in_channels (int): channels of what the row before gives; they come first.
        tap0_channels (int): channels of the first tapped map.
        tap1_channels (int): channels of the second, as `tap2_channels` to `tap6_channels` of the others; 0 where there
            is none. Default: 0.
        tap2_channels (int): see there. Default: 0.
        tap3_channels (int): see there. Default: 0.
        tap4_channels (int): see there. Default: 0.
        tap5_channels (int): see there. Default: 0.
        tap6_channels (int): see there. Default: 0.

    Shape:
        Maps (B, C, H, W), each of its own C, to (B, sum of them, H, W).

    Example:
        >>> block = zoo.blocks.Concat(in_channels=8, tap0_channels=4)
        >>> block(torch.zeros(1, 8, 4, 4), torch.ones(1, 4, 4, 4)).shape
        torch.Size([1, 12, 4, 4])
    """

    def __init__(
        self,
        *,
        in_channels: int,
        tap0_channels: int,
        tap1_channels: int = 0,
        tap2_channels: int = 0,
        tap3_channels: int = 0,
        tap4_channels: int = 0,
        tap5_channels: int = 0,
        tap6_channels: int = 0,
    ) -> None:
        super().__init__()
        tapped = (tap1_channels, tap2_channels, tap3_channels, tap4_channels, tap5_channels, tap6_channels)
        self.widths = (in_channels, tap0_channels, *(width for width in tapped if width))

    def forward(self, x: Tensor, *tapped: Tensor) -> Tensor:
        """Join.

        Args:
            x (Tensor): what the row before gives, (B, C, H, W).
            *tapped (Tensor): the tapped maps, each (B, its own C, H, W).

        Returns:
            (B, sum of all C, H, W).
        """
        return torch.cat([x, *tapped], 1)


class Slice(nn.Module):
    """Some channels of a map, those behind `before` others (ShuffleNetV2: Ma et al., 2018).

    Args:
        channels (int): how many channels go on.
        before (int): how many channels are left out in front of them. Default: 0.
        after (int): how many channels are left out behind them. Default: 0.

    Shape:
        (B, before + channels + after, H, W) to (B, channels, H, W).

    Example:
        >>> block = zoo.blocks.Slice(channels=8, before=4)
        >>> block(torch.zeros(1, 12, 4, 4)).shape
        torch.Size([1, 8, 4, 4])
    """

    def __init__(self, *, channels: int, before: int = 0, after: int = 0) -> None:
        super().__init__()
        self.channels, self.before, self.after = channels, before, after

    def forward(self, x: Tensor) -> Tensor:
        return x[:, self.before : self.before + self.channels]


class Upsample(nn.Module):
    """A map at another size: `scale_factor` times as high and wide, or as a tapped one is.

    Corners are not aligned: a map's pixels are squares, and the outermost edges of both maps coincide.

    Args:
        scale_factor (int): the factor; 0 for the size of the tapped map. Default: 0.
        mode (str): "bilinear" or "nearest". Default: "bilinear".

    Shape:
        (B, C, H, W) to (B, C, scale_factor * H, scale_factor * W), or to (B, C, height and width of the tapped map).

    Raises:
        ValueError: `mode` is unknown.

    Example:
        >>> block = zoo.blocks.Upsample(scale_factor=2)
        >>> block(torch.zeros(1, 8, 4, 4)).shape
        torch.Size([1, 8, 8, 8])
    """

    def __init__(self, *, scale_factor: int = 0, mode: str = "bilinear") -> None:
        super().__init__()
        if mode not in MODES:
            raise ValueError(f"Unknown mode {mode!r}; choose one of {MODES}.")
        self.scale_factor, self.mode = scale_factor, mode

    def forward(self, x: Tensor, *tapped: Tensor) -> Tensor:
        """Resize.

        Args:
            x (Tensor): the map, (B, C, H, W).
            *tapped (Tensor): the map whose size is taken, where `scale_factor` is 0.

        Returns:
            (B, C, new height, new width).
        """
        return resized(x, size_of(x, self.scale_factor, *tapped), self.mode)


def size_of(x: Tensor, scale_factor: int, *tapped: Tensor) -> list[int]:
    """Height and width: those of what is tapped, or `scale_factor` times those of `x`."""
    return list(tapped[0].shape[2:]) if tapped else [scale_factor * side for side in x.shape[2:]]


def resized(x: Tensor, size: Sequence[int], mode: str = "bilinear") -> Tensor:
    """(B, C, H, W) to (B, C, *size); itself where that is its size."""
    if list(x.shape[2:]) == list(size):
        return x
    if mode == "nearest":
        return F.interpolate(x, size, mode=mode)
    return F.interpolate(x, size, mode=mode, align_corners=False)
