"""The fused rows: the wiring of `zoo.engine.rows` with float layers."""

import torch
from torch import Tensor

from zoo.engine.arithmetic import QParams
from zoo.engine.cpu.call_plan import Step
from zoo.engine.cpu.floats import packs
from zoo.engine.dense import ChannelGateRow, SegmentationHeadRow
from zoo.engine.fused.layer import FusedLayer, FusedSqueezeExcite
from zoo.engine.residual import BasicBlockRow, BottleneckRow
from zoo.engine.row import Row, as_function
from zoo.engine.rows import (
    ClassifierRow,
    ConvNormActRow,
    DepthwiseSeparableRow,
    HiddenRow,
    InvertedResidualRow,
)

NO_QPARAMS = QParams(1.0, 0)


class FusedRow(Row):
    """No quantization parameters: floats flow."""

    layer = FusedLayer
    squeeze_excite = FusedSqueezeExcite

    def _hold_qparams(self, count: int) -> None:
        self._count = count

    @property
    def qparams(self) -> tuple[QParams, ...]:
        return (NO_QPARAMS,) * self._count

    def enter(self, x: Tensor) -> Tensor:
        return x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x

    def enter_tap(self, tap: int, x: Tensor) -> Tensor:
        return self.enter(x)

    def function(self, x: Tensor, *tapped: Tensor) -> Step:
        if not packs(x):
            return self
        step = self.build_forward(as_function, x.shape[2:], *(one.shape[2:] for one in tapped))

        def call(x: Tensor, *tapped: Tensor) -> Tensor:
            if x.requires_grad or any(one.requires_grad for one in tapped):  # a row before it has begun to learn
                return self(x, *tapped)
            return step(self.enter(x), *map(self.enter, tapped))

        return call


class FusedConvNormAct(ConvNormActRow, FusedRow):
    """`ConvNormAct` with its norm folded in."""


class FusedDepthwiseSeparable(DepthwiseSeparableRow, FusedRow):
    """`DepthwiseSeparable` with its norms folded in."""


class FusedInvertedResidual(InvertedResidualRow, FusedRow):
    """`InvertedResidual` with its norms folded in and the skip added in the projection."""


class FusedBasicBlock(BasicBlockRow, FusedRow):
    """`BasicBlock` with its norms folded in and the shortcut added in the last convolution."""


class FusedBottleneck(BottleneckRow, FusedRow):
    """`Bottleneck` with its norms folded in and the shortcut added in the last convolution."""


class FusedHidden(HiddenRow, FusedRow):
    """`Hidden`."""


class FusedClassifier(ClassifierRow, FusedRow):
    """`Classifier`, without dropout: it does not train."""


class FusedChannelGate(ChannelGateRow, FusedRow):
    """`ChannelGate`."""


class FusedSegmentationHead(SegmentationHeadRow, FusedRow):
    """`SegmentationHead`, without dropout: it does not train."""
