"""The fused rows: the flow of the int8 rows with float leaves, so that both are one text. Shapes are theirs."""

import torch
from torch import Tensor

from zoo.blocks.flat import Step
from zoo.blocks.fused.layer import FusedLayer, FusedSqueezeExcite, packs
from zoo.blocks.int8.arithmetic import Edge
from zoo.blocks.int8.residual import Int8BasicBlock, Int8Bottleneck
from zoo.blocks.int8.rows import (
    Int8Classifier,
    Int8ConvNormAct,
    Int8DepthwiseSeparable,
    Int8Hidden,
    Int8InvertedResidual,
    Int8Row,
    bound,
)

NO_EDGE = Edge(1.0, 0)


class FusedRow(Int8Row):
    """No edges: floats flow."""

    layer = FusedLayer
    squeeze_excite = FusedSqueezeExcite

    def _hold_edges(self, count: int) -> None:
        self._count = count

    @property
    def edge_list(self) -> tuple[Edge, ...]:
        return (NO_EDGE,) * self._count

    def enter(self, x: Tensor) -> Tensor:
        return x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x

    def dequantize(self, codes: Tensor) -> Tensor:
        return codes

    def bind(self, x: Tensor) -> Step:
        if not packs(x):
            return self
        step = self.wire(bound, x.shape[2:])

        def on_map(x: Tensor) -> Tensor:
            if x.requires_grad:  # a row before it has begun to learn
                return self(x)
            return step(x.contiguous(memory_format=torch.channels_last))

        return on_map if x.dim() == 4 else lambda x: self(x) if x.requires_grad else step(x)


class FusedConvNormAct(Int8ConvNormAct, FusedRow):
    """`ConvNormAct` with its norm folded in."""


class FusedDepthwiseSeparable(Int8DepthwiseSeparable, FusedRow):
    """`DepthwiseSeparable` with its norms folded in."""


class FusedInvertedResidual(Int8InvertedResidual, FusedRow):
    """`InvertedResidual` with its norms folded in and the skip added in the projection."""


class FusedBasicBlock(Int8BasicBlock, FusedRow):
    """`BasicBlock` with its norms folded in and the shortcut added in the last convolution."""


class FusedBottleneck(Int8Bottleneck, FusedRow):
    """`Bottleneck` with its norms folded in and the shortcut added in the last convolution."""


class FusedHidden(Int8Hidden, FusedRow):
    """`Hidden`."""


class FusedClassifier(Int8Classifier, FusedRow):
    """`Classifier`, without dropout: it does not train."""
