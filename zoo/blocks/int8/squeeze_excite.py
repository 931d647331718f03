"""Squeeze-and-excite between int8 layers.

Shapes: B batch, C channels, H and W height and width.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from zoo.blocks.activation import ACTIVATIONS
from zoo.blocks.int8 import arithmetic
from zoo.blocks.int8.arithmetic import Edge, Size
from zoo.blocks.int8.codes import gated_codes, whole_codes
from zoo.blocks.int8.execution import plain, runs_fast
from zoo.blocks.int8.layer import Int8Layer, Int8Module
from zoo.blocks.squeeze_excite import GATES


class Int8SqueezeExcite(Int8Module):
    """Squeeze-and-excite (Hu et al., 2018) of a float map (B, C, H, W), to uint8 codes.

    Its two layers have integer weights and see one position, in floats.
    """

    layer: type[Int8Layer] = Int8Layer

    def __init__(self, channels: int, reduced_channels: int, activation: str, gate: str) -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            raise ValueError(f"Unknown activation {activation!r}; choose one of {sorted(ACTIVATIONS)}.")
        self.reduce = self.layer(channels, reduced_channels, activation=activation)
        self.expand = self.layer(reduced_channels, channels)
        self.gate = GATES[gate]()

    def forward(self, x: Tensor, source: Any, target: Edge) -> Tensor:
        """Floats `x` to codes on `target`; there is no `source` edge, but every part of a row is called alike."""
        quantize = whole_codes if runs_fast(x.device) else plain().quantize
        return quantize(x * self.gates(x), target)

    def bound(
        self, size: Size, source: Any, target: Edge | None, skip_edge: Edge | None = None, after: str = "none"
    ) -> Callable[[Tensor], Tensor]:
        assert target is not None
        return lambda x: gated_codes(x, self.gates(x), target)

    def gates(self, x: Tensor) -> Tensor:
        """What multiplies each channel, (B, C, 1, 1)."""
        batch, channels, height, width = x.shape
        if plain() is arithmetic:
            squeezed = self.reduce.on_vector(x.sum((2, 3), dtype=torch.float32), 1.0 / (height * width))
        else:
            squeezed = self.reduce.on_vector(x.mean((-1, -2), keepdim=True).flatten(1))
        return self.gate(self.expand.on_vector(squeezed)).view(batch, channels, 1, 1)
