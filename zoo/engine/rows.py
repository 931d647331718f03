"""How the layers of each row are wired, once for int8, qat and fused.

Shapes: B batch, C channels, H and W height and width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from torch import Tensor

from zoo.engine.arithmetic import QParams, Size
from zoo.engine.cpu.call_plan import Step
from zoo.engine.leaf import Leaf
from zoo.engine.row import Parts, Row
from zoo.engine.squeeze_excite import SqueezeExciteLeaf

if TYPE_CHECKING:
    from zoo.kinds import Layout


class ConvNormActRow(Row):
    """`ConvNormAct` with its norm folded in: one integer convolution (B, C, H, W) to (B, O, H', W')."""

    conv: Leaf

    def build_forward(self, part: Parts, size: Size, *sizes: Size) -> Step:
        source, target = self.qparams
        return part(self.conv, size, source, target)


class SeparableRow(Row):
    """What the int8 forms of the mobile blocks share: how depthwise, squeeze-and-excite, projection and skip run."""

    optional = ("se",)
    depthwise: Leaf
    se: SqueezeExciteLeaf | None
    project: Leaf

    def __init__(self, layout: Layout) -> None:
        super().__init__(layout)
        self.skip: bool = layout.args["skip"]

    def _separable(
        self, part: Parts, size: Size, qparams: tuple[QParams, ...], skip_qparams: QParams
    ) -> Callable[..., Tensor]:
        """From codes on `qparams[0]` through depthwise and projection to on `qparams[-1]`; where `skip`, of two."""
        source, gated, target = qparams
        depthwise = part(self.depthwise, size, source, gated if self.se is None else None)
        size = self.depthwise.out_size(size)
        project = part(self.project, size, gated, target, skip_qparams if self.skip else None)
        if self.se is None:
            if self.skip:
                return lambda x, skip: project(depthwise(x), skip)
            return lambda x: project(depthwise(x))
        gate = part(self.se, size, gated, gated)
        if self.skip:
            return lambda x, skip: project(gate(depthwise(x)), skip)
        return lambda x: project(gate(depthwise(x)))


class DepthwiseSeparableRow(SeparableRow):
    """`DepthwiseSeparable` in integers."""

    def build_forward(self, part: Parts, size: Size, *sizes: Size) -> Step:
        separable = self._separable(part, size, self.qparams, self.qparams[0])
        return (lambda x: separable(x, x)) if self.skip else separable


class InvertedResidualRow(SeparableRow):
    """`InvertedResidual` in integers, the residual add inside the projection."""

    expand: Leaf

    def build_forward(self, part: Parts, size: Size, *sizes: Size) -> Step:
        entry, *inner = self.qparams
        expand = part(self.expand, size, entry, inner[0])
        separable = self._separable(part, size, tuple(inner), entry)
        return (lambda x: separable(expand(x), x)) if self.skip else (lambda x: separable(expand(x)))


class HiddenRow(Row):
    """`Hidden` in integers: (B, in_features) to (B, out_features)."""

    fc: Leaf

    def build_forward(self, part: Parts, size: Size, *sizes: Size) -> Step:
        source, target = self.qparams
        return part(self.fc, size, source, target)


class ClassifierRow(Row):
    """Integer matrix product to float scores: (B, in_features) to (B, num_classes). No dropout: it does not train."""

    ends_in_floats = True
    fc: Leaf

    def __init__(self, layout: Layout) -> None:
        super().__init__(layout)
        self.dropout: float = layout.args["dropout"]

    def build_forward(self, part: Parts, size: Size, *sizes: Size) -> Step:
        source, target = self.qparams
        return part(self.fc, size, source, target if self.emits == "uint8" else None)
