"""Squeeze-and-excite between int8 layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from zoo.engine.arithmetic import QParams, Size
from zoo.engine.cpu.codes import gated_codes
from zoo.engine.execution import numerics
from zoo.engine.squeeze_excite import SqueezeExciteLeaf


class Int8SqueezeExcite(SqueezeExciteLeaf):
    """`SqueezeExciteLeaf` of integer weights: a float map (B, C, H, W) to uint8 codes."""

    def forward(self, x: Tensor, source: Any, target: QParams) -> Tensor:
        """Floats `x` to codes on `target`; there is no `source` edge, but every part of a row is called alike."""
        return numerics(x.device).quantize(x * self.gates(x), target)

    def function(
        self, size: Size, source: Any, target: QParams | None, skip_qparams: QParams | None = None, after: str = "none"
    ) -> Callable[[Tensor], Tensor]:
        assert target is not None
        return lambda x: gated_codes(x, self.gates(x), target)
