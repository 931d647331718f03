"""The heads of detectors: classes and boxes at every position of several maps, in one list.

Shapes: B batch, C channels, H and W height and width, N positions of all maps together, K classes.
"""

from collections.abc import Sequence

import torch
import torch.nn as nn
from torch import Tensor

from zoo.blocks.conv import ConvNormAct


class Predictor(nn.Module):
    """Numbers for every position of a map: a depthwise convolution, where the kernel is wider than 1, and a 1x1 one.

    Args:
        in_channels (int): channels of the map.
        out_channels (int): numbers for each position.
        kernel_size (int): that of the depthwise convolution; 1 for none.
        activation (str): what follows it, as for `ConvNormAct`.
        eps (float): added to the variance in its batch norm.

    Shape:
        (B, in_channels, H, W) to (B, out_channels, H, W).

    Example:
        >>> block = zoo.blocks.Predictor(in_channels=8, out_channels=6, kernel_size=3, activation="relu", eps=1e-5)
        >>> block(torch.randn(1, 8, 4, 4)).shape
        torch.Size([1, 6, 4, 4])
    """

    def __init__(self, *, in_channels: int, out_channels: int, kernel_size: int, activation: str, eps: float) -> None:
        super().__init__()
        if kernel_size > 1:
            self.depthwise = ConvNormAct(
                in_channels=in_channels,
                out_channels=in_channels,
                kernel_size=kernel_size,
                groups=in_channels,
                activation=activation,
                eps=eps,
            )
        self.project = nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        for part in self.children():
            x = part(x)
        return x


class DetectionHead(nn.Module):
    """What `SSDHead` and `GFLHead` share: two predictors for each map, and how their numbers are put together.

    Args:
        widths (Sequence[int]): channels of each map.
        values (tuple[int, int]): how many numbers an answer has for its classes, and how many for its box.
        each (int): answers at each position.
        kernel_size (int): see `Predictor`.
        activation (str): see there.
        eps (float): see there.

    Shape:
        Maps (B, C, H, W), each of its own C, H and W, to (B, N * each, sum of `values`).

    Example:
        >>> block = zoo.blocks.DetectionHead([8, 16], (3, 4), 1, 1, "none", 1e-5)
        >>> block(torch.randn(1, 8, 4, 4), torch.randn(1, 16, 2, 2)).shape
        torch.Size([1, 20, 7])
    """

    def __init__(
        self, widths: Sequence[int], values: tuple[int, int], each: int, kernel_size: int, activation: str, eps: float
    ) -> None:
        super().__init__()
        self.values = values
        for level, width in enumerate(widths):
            for part, count in zip(("cls", "box"), values, strict=True):
                predictor = Predictor(
                    in_channels=width,
                    out_channels=each * count,
                    kernel_size=kernel_size,
                    activation=activation,
                    eps=eps,
                )
                self.add_module(f"{part}{level}", predictor)

    def forward(self, *maps: Tensor) -> Tensor:
        found = [self.get_submodule(f"{part}{level}")(x) for level, x in enumerate(maps) for part in ("cls", "box")]
        return listed(found, self.values)

    def initialize_outputs(self) -> None:
        """Fresh 1x1 convolutions: small weights, so that no answer is sure at the start (Lin et al., 2017)."""
        for predictor in self.children():
            nn.init.normal_(predictor.project.weight, 0.0, 0.01)  # type: ignore[union-attr, arg-type]


def listed(found: Sequence[Tensor], values: tuple[int, int]) -> Tensor:
    """What predictors give, classes and boxes in turn, (B, each * values, H, W), to (B, N * each, sum of values)."""
    parts = [
        torch.cat([x.permute(0, 2, 3, 1).flatten(1).unflatten(1, (-1, count)) for x in found[part::2]], 1)
        for part, count in enumerate(values)
    ]
    return torch.cat(parts, 2)


class SSDHead(DetectionHead):
    """Of each anchor the classes, the background first, and four offsets (Liu et al., 2016; Sandler et al., 2018).

    Args:
        in_channels (int): channels of the first map.
        num_classes (int): number of classes, the background left out.
        tap0_channels (int): channels of the second map, as `tap1_channels` to `tap6_channels` of the others; 0 where
            there is none. Default: 0.
        tap1_channels (int): see there. Default: 0.
        tap2_channels (int): see there. Default: 0.
        tap3_channels (int): see there. Default: 0.
        tap4_channels (int): see there. Default: 0.
        tap5_channels (int): see there. Default: 0.
        tap6_channels (int): see there. Default: 0.
        aspect_ratios (tuple[float, ...]): of the anchors beside two squares; of each there is a wide and a high one.
            Default: (2.0, 3.0).
        min_scale (float): side of the anchors of the first map, in shares of the picture. Default: 0.2.
        max_scale (float): that of the last map. Default: 0.95.
        kernel_size (int): of the depthwise convolutions; 1 for none. Default: 3.
        activation (str): what follows them, as for `ConvNormAct`. Default: "relu6".
        eps (float): added to the variance in batch norm. Default: 1e-5.
        score_thresh (float): detections with a lower score are left out. Default: 0.01.
        nms_thresh (float): the most that two detections of a class may overlap. Default: 0.45.
        detections_per_img (int): how many detections a picture has at most. Default: 200.
        topk_candidates (int): how many are looked at before overlapping ones are left out. Default: 300.

    Shape:
        Maps (B, C, H, W), each of its own C, H and W, to (B, N * anchors, 1 + num_classes + 4).

    Example:
        >>> block = zoo.blocks.SSDHead(in_channels=8, tap0_channels=16, num_classes=3)
        >>> block(torch.randn(1, 8, 4, 4), torch.randn(1, 16, 2, 2)).shape
        torch.Size([1, 120, 8])
    """

    def __init__(
        self,
        *,
        in_channels: int,
        num_classes: int,
        tap0_channels: int = 0,
        tap1_channels: int = 0,
        tap2_channels: int = 0,
        tap3_channels: int = 0,
        tap4_channels: int = 0,
        tap5_channels: int = 0,
        tap6_channels: int = 0,
        aspect_ratios: tuple[float, ...] = (2.0, 3.0),
        min_scale: float = 0.2,
        max_scale: float = 0.95,
        kernel_size: int = 3,
        activation: str = "relu6",
        eps: float = 1e-5,
        score_thresh: float = 0.01,
        nms_thresh: float = 0.45,
        detections_per_img: int = 200,
        topk_candidates: int = 300,
    ) -> None:
        tapped = (tap0_channels, tap1_channels, tap2_channels, tap3_channels, tap4_channels, tap5_channels)
        widths = [in_channels, *(width for width in (*tapped, tap6_channels) if width)]
        each = 2 + 2 * len(aspect_ratios)
        super().__init__(widths, (1 + num_classes, 4), each, kernel_size, activation, eps)


class GFLHead(DetectionHead):
    """Of each position the quality of a box of each class, and how far its sides are (Li et al., 2020).

    Args:
        in_channels (int): channels of the first map, the finest.
        num_classes (int): number of classes.
        tap0_channels (int): channels of the second map, as `tap1_channels` to `tap6_channels` of the others; 0 where
            there is none. Default: 0.
        tap1_channels (int): see there. Default: 0.
        tap2_channels (int): see there. Default: 0.
        tap3_channels (int): see there. Default: 0.
        tap4_channels (int): see there. Default: 0.
        tap5_channels (int): see there. Default: 0.
        tap6_channels (int): see there. Default: 0.
        strides (tuple[int, ...]): pixels between neighbouring positions of each map. Default: (8, 16, 32).
        reg_max (int): the farthest that a side lies from a position, in strides. Default: 7.
        kernel_size (int): of depthwise convolutions; 1 for none. Default: 1.
        activation (str): what follows them, as for `ConvNormAct`. Default: "relu6".
        eps (float): added to the variance in batch norm. Default: 1e-5.
        score_thresh (float): detections with a lower score are left out. Default: 0.05.
        nms_thresh (float): the most that two detections of a class may overlap. Default: 0.6.
        detections_per_img (int): how many detections a picture has at most. Default: 100.
        topk_candidates (int): how many are looked at before overlapping ones are left out. Default: 300.

    Shape:
        Maps (B, C, H, W), each of its own C, H and W, to (B, N, num_classes + 4 * (reg_max + 1)).

    Example:
        >>> block = zoo.blocks.GFLHead(in_channels=8, tap0_channels=8, num_classes=3, strides=(8, 16))
        >>> block(torch.randn(1, 8, 4, 4), torch.randn(1, 8, 2, 2)).shape
        torch.Size([1, 20, 35])
    """

    def __init__(
        self,
        *,
        in_channels: int,
        num_classes: int,
        tap0_channels: int = 0,
        tap1_channels: int = 0,
        tap2_channels: int = 0,
        tap3_channels: int = 0,
        tap4_channels: int = 0,
        tap5_channels: int = 0,
        tap6_channels: int = 0,
        strides: tuple[int, ...] = (8, 16, 32),
        reg_max: int = 7,
        kernel_size: int = 1,
        activation: str = "relu6",
        eps: float = 1e-5,
        score_thresh: float = 0.05,
        nms_thresh: float = 0.6,
        detections_per_img: int = 100,
        topk_candidates: int = 300,
    ) -> None:
        tapped = (tap0_channels, tap1_channels, tap2_channels, tap3_channels, tap4_channels, tap5_channels)
        widths = [in_channels, *(width for width in (*tapped, tap6_channels) if width)]
        super().__init__(widths, (num_classes, 4 * (reg_max + 1)), 1, kernel_size, activation, eps)

    def initialize_outputs(self) -> None:
        """The same, with a hundredth as the score of every class (Lin et al., 2017)."""
        super().initialize_outputs()
        for name, predictor in self.named_children():
            if name.startswith("cls"):
                nn.init.constant_(predictor.project.bias, -4.6)  # type: ignore[union-attr, arg-type]
