"""The int8 rows: the wiring of `zoo.engine.rows` with integer layers."""

from zoo.engine.int8.row import Int8Row
from zoo.engine.residual import BasicBlockRow, BottleneckRow
from zoo.engine.rows import (
    ClassifierRow,
    ConvNormActRow,
    DepthwiseSeparableRow,
    HiddenRow,
    InvertedResidualRow,
)


class Int8ConvNormAct(ConvNormActRow, Int8Row):
    """`ConvNormAct` with its norm folded in: one integer convolution."""


class Int8DepthwiseSeparable(DepthwiseSeparableRow, Int8Row):
    """`DepthwiseSeparable` in integers."""


class Int8InvertedResidual(InvertedResidualRow, Int8Row):
    """`InvertedResidual` in integers, the residual add inside the projection."""


class Int8BasicBlock(BasicBlockRow, Int8Row):
    """`BasicBlock` in integers, the shortcut's codes added inside the last convolution."""


class Int8Bottleneck(BottleneckRow, Int8Row):
    """`Bottleneck` in integers, the shortcut's codes added inside the last convolution."""


class Int8Hidden(HiddenRow, Int8Row):
    """`Hidden` in integers."""


class Int8Classifier(ClassifierRow, Int8Row):
    """Integer matrix product to float scores. No dropout: it does not train."""
