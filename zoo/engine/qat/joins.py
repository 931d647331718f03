"""The rows of `zoo.engine.int8.joins` in training: what flows are floats on the codes of their edges."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.blocks.joins import resized, size_of
from zoo.blocks.pool import averaged, on_grid
from zoo.engine import arithmetic
from zoo.engine.arithmetic import QParams, Size
from zoo.engine.cpu.call_plan import Step
from zoo.engine.dense import ChannelGateRow, SegmentationHeadRow
from zoo.engine.int8.joins import (
    Int8AdaptiveAvgPool,
    Int8Add,
    Int8AvgPool,
    Int8Branch,
    Int8Concat,
    Int8Slice,
    Int8Upsample,
)
from zoo.engine.qat.rounding import fake_quantize
from zoo.engine.qat.rows import QatRow
from zoo.engine.row import Parts


class QatBranch(Int8Branch, QatRow):
    """`Int8Branch` in training."""

    def build_forward(self, part: Parts, size: Size, *sizes: Size) -> Step:
        return lambda x, tapped: tapped


class QatAdd(Int8Add, QatRow):
    """`Int8Add` in training."""

    def build_forward(self, part: Parts, size: Size, *sizes: Size) -> Step:
        target = self.learned[-1]
        return lambda x, tapped: fake_quantize(arithmetic.activate(x + tapped, self.activation), target)


class QatConcat(Int8Concat, QatRow):
    """`Int8Concat` in training: what is on the codes of the last edge already stays."""

    def build_forward(self, part: Parts, size: Size, *sizes: Size) -> Step:
        target = self.learned[-1]
        return lambda x, *tapped: fake_quantize(torch.cat([x, *tapped], 1), target)


class QatSlice(Int8Slice, QatRow):
    """`Int8Slice` in training."""

    def build_forward(self, part: Parts, size: Size, *sizes: Size) -> Step:
        return self._channels


class QatUpsample(Int8Upsample, QatRow):
    """`Int8Upsample` in training. A row in front that emits codes has the edge that it rounds to."""

    def build_forward(self, part: Parts, size: Size, *sizes: Size) -> Step:
        edge = self.learned[0]

        def run(x: Tensor, *tapped: Tensor) -> Tensor:
            y = resized(x, size_of(x, self.scale_factor, *tapped), self.mode)
            return y if self.mode == "nearest" else fake_quantize(y, edge)

        return run


class QatAvgPool(Int8AvgPool, QatRow):
    """`Int8AvgPool` in training."""

    def build_forward(self, part: Parts, size: Size, *sizes: Size) -> Step:
        target = self.learned[-1]
        return lambda x: fake_quantize(averaged(x, self.kernel_size, self.stride), target)


class QatAdaptiveAvgPool(Int8AdaptiveAvgPool, QatRow):
    """`Int8AdaptiveAvgPool` in training."""

    def build_forward(self, part: Parts, size: Size, *sizes: Size) -> Step:
        target = self.learned[-1]
        return lambda x: fake_quantize(on_grid(x, self.size), target)


class QatChannelGate(ChannelGateRow, QatRow):
    """`Int8ChannelGate` in training."""

    def weighted(self, x: Tensor, gates: Tensor, source: QParams, target: QParams) -> Tensor:
        return fake_quantize(x * gates, self.learned[-1])


class QatSegmentationHead(SegmentationHeadRow, QatRow):
    """`Int8SegmentationHead` in training, with the dropout of the float form."""

    def enter(self, x: Tensor) -> Tensor:
        return F.dropout2d(super().enter(x), self.dropout, self.training)
