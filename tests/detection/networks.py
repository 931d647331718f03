"""Small detectors for tests: on narrow backbones, at few pixels."""

from __future__ import annotations

import torch
from torch import Tensor

from networks import lively
from zoo import kinds, registry
from zoo.model.build import Model
from zoo.spec import Block, ModelSpec

NAMES = ("ssdlite", "gfl_pan")
SIZE = (64, 96)


def backbone() -> ModelSpec:
    """Maps at a half to 1/32 of the picture, of one row each."""
    rows = [Block("conv_norm_act", "stem", in_channels=3, out_channels=8, stride=2)]
    for stage, width in enumerate((12, 16, 24, 32), 1):
        before = rows[-1].args["out_channels"]
        args = {"in_channels": before, "mid_channels": 2 * before, "out_channels": width, "stride": 2}
        rows.append(Block("inverted_residual", f"s{stage}", **args))
    return ModelSpec("tiny", tuple(rows))


def spec(name: str, size: tuple[int, int] = SIZE, body: ModelSpec | None = None) -> ModelSpec:
    narrow = {"gfl_pan": {"decoder_channels": 16}, "ssdlite": {"extra_channels": (32, 32, 16, 16)}}[name]
    return kinds.with_size(registry.spec(name, num_classes=3, backbone=body or backbone(), **narrow), size)


def detector(name: str, size: tuple[int, int] = SIZE) -> Model:
    """The same one at every call, with weights under which scores differ from place to place."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = lively(spec(name, size))
    made = torch.Generator().manual_seed(1)
    for key, parameter in model.named_parameters():
        if "detector" in key and "project" in key:
            wide = 0.1 if key.endswith("weight") else 0.5
            parameter.data.copy_(torch.randn(parameter.shape, generator=made) * wide)
    return model.eval()


def pictures(count: int = 2, size: tuple[int, int] = SIZE, seed: int = 0) -> Tensor:
    """Pictures with coarse structure, each of its own."""
    made = torch.Generator().manual_seed(seed)
    coarse = torch.randn(count, 3, 6, 8, generator=made)
    return torch.nn.functional.interpolate(coarse, size, mode="bilinear") * 2
