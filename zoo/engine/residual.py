"""The int8 forms of the residual blocks: the shortcut's codes are added inside the last convolution.

Shapes: (B, in_channels, H, W) to (B, out_channels, ceil(H / stride), ceil(W / stride)), uint8 codes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from zoo.engine.arithmetic import Size
from zoo.engine.cpu.call_plan import Step
from zoo.engine.leaf import Leaf
from zoo.engine.row import Parts, Row

if TYPE_CHECKING:
    from zoo.kinds import Layout


class ResidualRow(Row):
    """What both share: the shortcut, and the last convolution that adds it."""

    optional = ("shortcut",)
    shortcut: Leaf | None

    def __init__(self, layout: Layout) -> None:
        super().__init__(layout)
        self.activation: str = layout.args["activation"]

    def _add(self, part: Parts, size: Size, out: Size, inner: Step, last: Leaf) -> Step:
        """`last` of the `inner` codes, plus the shortcut of the row's input, activated."""
        entry, *_, source, target = self.qparams
        if self.shortcut is None:
            add = part(last, out, source, target, entry, self.activation)
            return lambda x: add(inner(x), x)
        source, beside = self.qparams[-3:-1]
        shortcut = part(self.shortcut, size, entry, beside)
        add = part(last, out, source, target, beside, self.activation)
        return lambda x: add(inner(x), shortcut(x))


class BasicBlockRow(ResidualRow):
    """`BasicBlock` in integers."""

    conv1: Leaf
    conv2: Leaf

    def build_forward(self, part: Parts, size: Size, *sizes: Size) -> Step:
        entry, inner = self.qparams[:2]
        conv1 = part(self.conv1, size, entry, inner)
        return self._add(part, size, self.conv1.out_size(size), conv1, self.conv2)


class BottleneckRow(ResidualRow):
    """`Bottleneck` in integers."""

    conv1: Leaf
    conv2: Leaf
    conv3: Leaf

    def build_forward(self, part: Parts, size: Size, *sizes: Size) -> Step:
        entry, first, second = self.qparams[:3]
        conv1 = part(self.conv1, size, entry, first)
        conv2 = part(self.conv2, size, first, second)
        return self._add(part, size, self.conv2.out_size(size), lambda x: conv2(conv1(x)), self.conv3)
