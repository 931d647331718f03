"""The rows of quantization-aware training: those of int8, with leaves that train.

What flows is what the int8 row would hold: floats on the codes of its edges. The scales are learned, the zero points
are not. Shapes are those of the int8 rows.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from zoo.blocks.flat import Step
from zoo.blocks.int8.arithmetic import Edge, Size
from zoo.blocks.int8.pool import Int8GlobalPool, Int8MaxPool
from zoo.blocks.int8.residual import Int8BasicBlock, Int8Bottleneck
from zoo.blocks.int8.rows import (
    Bind,
    Int8Classifier,
    Int8ConvNormAct,
    Int8DepthwiseSeparable,
    Int8Hidden,
    Int8InvertedResidual,
    Int8Row,
)
from zoo.blocks.qat.layer import QatLayer, QatSqueezeExcite
from zoo.blocks.qat.rounding import LearnedEdge, fake_quantize


class QatRow(Int8Row):
    """Learned edges under the row classes of int8: edge i > 0 has the scale edges[i, 0] * exp(stretch[i - 1]).

    `stretch` has no unit, so that one learning rate fits every edge, and weight decay pulls towards the ranges at the
    start. `reads` is what the row before emits: behind "uint8" the values that come in stand on codes already, and the
    first edge does not count; before floats it stays as it was ranged.
    """

    layer = QatLayer
    squeeze_excite = QatSqueezeExcite
    reads: str = "float32"
    stretch: Tensor | None

    def __init__(self, *, edges: int, emits: str) -> None:
        super().__init__(edges=edges, emits=emits)
        self.register_parameter("stretch", nn.Parameter(torch.zeros(edges - 1)) if edges > 1 else None)

    def extra_repr(self) -> str:
        return f"reads={self.reads}, {super().extra_repr()}"

    @property
    def edges_now(self) -> Tensor:
        """(n, 2) scale and zero point of every edge, as training has left them."""
        if self.stretch is None:
            return self.edges
        scales, zeros = self.edges.unbind(1)
        return torch.stack([torch.cat([scales[:1], scales[1:] * self.stretch.exp()]), zeros], 1)

    @property
    def learned(self) -> tuple[LearnedEdge, ...]:
        return tuple(LearnedEdge(*edge.unbind()) for edge in self.edges_now.unbind())

    @property
    def edge_list(self) -> tuple[Edge, ...]:
        return cast(tuple[Edge, ...], self.learned)  # `run` hands them on, and the leaves take these

    def quantize(self, x: Tensor) -> Tensor:
        """Floats to floats on the codes of the row's first edge."""
        return fake_quantize(x, self.learned[0])

    def dequantize(self, codes: Tensor) -> Tensor:
        return codes

    def enter(self, x: Tensor) -> Tensor:
        return x if self.reads == "uint8" else self.quantize(x)

    def bind(self, x: Tensor) -> Step:
        return self


class QatConvNormAct(Int8ConvNormAct, QatRow):
    """`Int8ConvNormAct` in training."""


class QatDepthwiseSeparable(Int8DepthwiseSeparable, QatRow):
    """`Int8DepthwiseSeparable` in training."""


class QatInvertedResidual(Int8InvertedResidual, QatRow):
    """`Int8InvertedResidual` in training."""


class QatBasicBlock(Int8BasicBlock, QatRow):
    """`Int8BasicBlock` in training."""


class QatBottleneck(Int8Bottleneck, QatRow):
    """`Int8Bottleneck` in training."""


class QatMaxPool(Int8MaxPool, QatRow):
    """`Int8MaxPool` in training: the largest of values on codes is on them, too."""

    def wire(self, bind: Bind, size: Size) -> Step:
        return lambda x: F.max_pool2d(x, self.kernel_size, self.stride, self.kernel_size // 2)


class QatGlobalPool(Int8GlobalPool, QatRow):
    """`Int8GlobalPool` in training."""

    def wire(self, bind: Bind, size: Size) -> Step:
        target = self.learned[-1]
        return lambda x: fake_quantize(x.mean((2, 3), dtype=torch.float32), target)


class QatHidden(Int8Hidden, QatRow):
    """`Int8Hidden` in training."""


class QatClassifier(Int8Classifier, QatRow):
    """`Int8Classifier` in training, with the dropout of the float form."""

    def __init__(self, *, in_features: int, num_classes: int, dropout: float = 0.0, emits: str = "float32") -> None:
        super().__init__(in_features=in_features, num_classes=num_classes, dropout=dropout, emits=emits)
        if self.stretch is not None and emits == "float32":  # scores leave unrounded, and DDP wants no idle parameter
            self.stretch.requires_grad_(False)

    def enter(self, x: Tensor) -> Tensor:
        return F.dropout(super().enter(x), self.dropout, self.training)
