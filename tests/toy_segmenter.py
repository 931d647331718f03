"""A segmenter of a few rows. Its head is a toy of the tests: a 1x1 convolution, at the size of the picture."""

from __future__ import annotations

import pytest
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from zoo import kinds, registry
from zoo.kinds.kind import Arg, Kind, Layer
from zoo.spec import Block, ImageInput, ModelSpec


class MapHead(nn.Module):
    def __init__(self, *, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.fc = nn.Conv2d(in_channels, num_classes, 1)

    def forward(self, x: Tensor, picture: Tensor) -> Tensor:
        return F.interpolate(self.fc(x), picture.shape[2:], mode="bilinear", align_corners=False)


KIND = Kind(
    "toy_map_head",
    {"in_channels": Arg(int, low=1, high=64), "num_classes": Arg(int, low=1, high=1000)},
    lambda args: (Layer("fc.", "in", "out", norm=False),),
    widths={"in": "in_channels", "out": "num_classes"},
    macs_and_shape=lambda args, shape, picture: (
        args["in_channels"] * args["num_classes"] * shape[1] * shape[2],
        (args["num_classes"], *picture[1:]),
    ),
    edges=lambda args: (),
    precisions=("float32",),
    taps=lambda args: 1,
    role="head",
)


def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register the head and the network `toy_segmenter`."""
    monkeypatch.setitem(kinds.KINDS, KIND.name, KIND)
    monkeypatch.setitem(registry.BLOCKS, (KIND.name, "float32"), f"{__name__}:MapHead")
    monkeypatch.setitem(registry.MODELS, "toy_segmenter", f"{__name__}:network")


def network(name: str = "toy_segmenter", classes: int = 3, size: tuple[int, int] = (24, 32)) -> ModelSpec:
    rows = (
        Block("conv_norm_act", "stem", in_channels=3, out_channels=8, stride=2, activation="relu"),
        Block("conv_norm_act", "body", in_channels=8, out_channels=8, stride=2, activation="relu"),
        Block(KIND.name, "classifier", in_channels=8, num_classes=classes, taps=("input",)),
    )
    given = ImageInput(size=size, crop=1.0, squash=True, interpolation="bilinear")
    return ModelSpec(name, rows, given, task="image-segmentation")
