"""Squeeze-and-excite between the layers of a row.

Shapes: B batch, C channels, H and W height and width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from zoo.blocks.squeeze_excite import GATES
from zoo.engine.arithmetic import Size
from zoo.engine.execution import plain
from zoo.engine.leaf import Leaf
from zoo.engine.module import EngineModule


class SqueezeExciteLeaf(EngineModule):
    """Squeeze-and-excite (Hu et al., 2018) of a float map (B, C, H, W), called as a layer is.

    Its row gives it two layers, which see one position, in floats.
    """

    reduce: Leaf
    expand: Leaf

    def __init__(self, gate: str) -> None:
        super().__init__()
        self.gate = GATES[gate]()

    def function(
        self, size: Size, source: Any, target: Any, skip_qparams: Any = None, after: str = "none"
    ) -> Callable[[Tensor], Tensor]:
        """`forward` as a function of `x`, which it overwrites."""
        raise TypeError(f"{type(self).__name__} does not run in this processor's operators.")

    def gates(self, x: Tensor) -> Tensor:
        """What multiplies each channel, (B, C, 1, 1)."""
        squeezed: Tensor = plain().squeezed(self.reduce, x)  # type: ignore[arg-type]
        return self.gate(self.expand.on_vector(squeezed)).view(*x.shape[:2], 1, 1)  # type: ignore[no-any-return]
