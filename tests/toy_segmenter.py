"""A segmenter of a few rows, under a name of the registry."""

from __future__ import annotations

import pytest

from zoo import registry
from zoo.spec import Block, ImageInput, ModelSpec


def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register the network `toy_segmenter`."""
    monkeypatch.setitem(registry.MODELS, "toy_segmenter", f"{__name__}:network")


def network(name: str = "toy_segmenter", classes: int = 3, size: tuple[int, int] = (24, 32)) -> ModelSpec:
    rows = (
        Block("conv_norm_act", "stem", in_channels=3, out_channels=8, stride=2, activation="relu"),
        Block("conv_norm_act", "body", in_channels=8, out_channels=8, stride=2, activation="relu"),
        Block("segmentation_head", "classifier", in_channels=8, num_classes=classes, taps=("input",)),
    )
    given = ImageInput(size=size, crop=1.0, squash=True, interpolation="bilinear")
    return ModelSpec(name, rows, given, task="image-segmentation")
