"""How the rows of dense prediction are wired, once for int8, qat and fused.

Shapes: B batch, C channels, H and W height and width.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor

from zoo.blocks.joins import resized
from zoo.blocks.squeeze_excite import GATES
from zoo.engine.arithmetic import QParams, Size
from zoo.engine.cpu.call_plan import Step
from zoo.engine.leaf import Leaf
from zoo.engine.row import Parts, Row

if TYPE_CHECKING:
    from zoo.kinds import Layout


class ChannelGateRow(Row):
    """`ChannelGate`: (B, C, H, W), weighted by what `fc` makes of the mean of the tapped map (B, C', H', W')."""

    fc: Leaf

    def __init__(self, layout: Layout) -> None:
        super().__init__(layout)
        self.gate = GATES[layout.args["gate"]]()

    def pooled(self, tapped: Tensor, source: QParams) -> Tensor:
        """(B, C', H', W') to floats (B, C')."""
        return tapped.mean((2, 3))

    def weighted(self, x: Tensor, gates: Tensor, source: QParams, target: QParams) -> Tensor:
        """(B, C, H, W) times (B, C, 1, 1)."""
        return x * gates

    def build_forward(self, part: Parts, size: Size, *sizes: Size) -> Step:
        source, beside, target = self.qparams

        def run(x: Tensor, tapped: Tensor) -> Tensor:
            gates = self.gate(self.fc.on_vector(self.pooled(tapped, beside)))
            return self.weighted(x, gates[:, :, None, None], source, target)

        return run


class SegmentationHeadRow(Row):
    """`SegmentationHead`: products of codes, in floats from there on. No dropout: it does not train."""

    ends_in_floats = True
    optional = ("side",)
    fc: Leaf
    side: Leaf | None

    def __init__(self, layout: Layout) -> None:
        super().__init__(layout)
        self.dropout: float = layout.args["dropout"]

    def build_forward(self, part: Parts, size: Size, *sizes: Size) -> Step:
        fc = part(self.fc, size, self.qparams[0], None)
        if self.side is None:
            return lambda x, picture: resized(fc(x), picture.shape[2:])
        side: Any = part(self.side, sizes[1], self.qparams[1], None)

        def run(x: Tensor, picture: Tensor, finer: Tensor) -> Tensor:
            y = side(finer)
            return resized(resized(fc(x), y.shape[2:]) + y, picture.shape[2:])

        return run
