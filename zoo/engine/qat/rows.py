"""The rows of quantization-aware training: those of int8, with leaves that train.

What flows is what the int8 row would hold: floats on the codes of its edges. The scales are learned, the zero points
are not. Shapes are those of the int8 rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from zoo.engine.arithmetic import QParams, Size
from zoo.engine.cpu.call_plan import Step
from zoo.engine.int8.pool import Int8GlobalPool, Int8MaxPool
from zoo.engine.int8.row import Int8Row
from zoo.engine.qat.layer import QatLayer, QatSqueezeExcite
from zoo.engine.qat.rounding import LearnedQParams, fake_quantize
from zoo.engine.residual import BasicBlockRow, BottleneckRow
from zoo.engine.row import Parts
from zoo.engine.rows import (
    ClassifierRow,
    ConvNormActRow,
    DepthwiseSeparableRow,
    HiddenRow,
    InvertedResidualRow,
)
from zoo.kinds import EARLIER_KEYS

if TYPE_CHECKING:
    from zoo.kinds import Layout


class QatRow(Int8Row):
    """Learned edges under the row classes of int8: edge i > 0 has the scale edges[i, 0] * exp(log_scale[i - 1]).

    `log_scale` has no unit, so that one learning rate fits every edge, and weight decay pulls towards the ranges at the
    start. `reads` is what the row before emits: behind "uint8" the values that come in stand on codes already, and the
    first edge does not count; before floats it stays as it was ranged.

    An edge in a residual stream may follow another one, of this or an earlier row: then that edge's factor counts, and
    the own element of `log_scale` is a copy, made when the state is read.
    """

    layer = QatLayer
    squeeze_excite = QatSqueezeExcite
    runner = None  # one after another: they train
    log_scale: Tensor | None

    def __init__(self, layout: Layout) -> None:
        super().__init__(layout)
        self.reads, self.tapped = layout.reads, layout.tapped
        coded = sum(edge >= 0 and emits == "uint8" for edge, emits in zip(self.edge_of_tap, self.tapped, strict=True))
        if self.log_scale is not None and coded == len(self.log_scale):
            self.log_scale.requires_grad_(False)  # what is tapped is on codes already
        self._followed: dict[int, tuple[QatRow, int]] = {}  # edge -> the row and the edge that it follows

    def follow(self, edge: int, row: QatRow, other: int) -> None:
        """Let an edge have the factor of another row's edge, whose scale is the same now.

        The first edge does so only where it is the row's last too.
        """
        self._followed[edge] = (row, other)
        if self.log_scale is not None and len(self._followed) == len(self.log_scale):
            self.log_scale.requires_grad_(False)  # nothing would train it, and DDP wants no idle parameter

    def _factor(self, edge: int) -> Tensor:
        """The logarithm of the edge's factor."""
        if edge in self._followed:
            row, other = self._followed[edge]
            return row._factor(other)
        return self.edges.new_zeros(()) if edge == 0 or self.log_scale is None else self.log_scale[edge - 1]

    def _save_to_state_dict(self, *args: Any) -> None:
        for edge in self._followed:
            if self.log_scale is not None and self.log_scale[edge - 1] != (factor := self._factor(edge)):
                with torch.no_grad():  # in place, for whoever changes a network by way of its state
                    self.log_scale[edge - 1] = factor
        super()._save_to_state_dict(*args)

    def _hold_qparams(self, count: int) -> None:
        super()._hold_qparams(count)
        self.register_parameter("log_scale", nn.Parameter(torch.zeros(count - 1)) if count > 1 else None)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        for key, earlier in EARLIER_KEYS.items():
            if prefix + earlier in state_dict and prefix + key not in state_dict:
                state_dict[prefix + key] = state_dict.pop(prefix + earlier)  # of a copy: torch hands on no other
        super()._load_from_state_dict(state_dict, prefix, *args)
        # Rows that are followed are loaded before. An earlier version trained each scale by itself.
        self._followed = {edge: other for edge, other in self._followed.items() if self._is_scaled_as(edge, *other)}

    def _is_scaled_as(self, edge: int, row: QatRow, other: int) -> bool:
        if self.log_scale is None or self.edges.is_meta:
            return True
        same = self.edges[edge, 0] == row.edges[other, 0]
        return bool(same & (self.log_scale[edge - 1] == row._factor(other)))

    def extra_repr(self) -> str:
        return f"reads={self.reads}, {super().extra_repr()}"

    @property
    def current_edges(self) -> Tensor:
        """(n, 2) scale and zero point of every edge, as training has left them."""
        if self.log_scale is None and not self._followed:
            return self.edges
        scales, zeros = self.edges.unbind(1)
        if self._followed or self.log_scale is None:
            factors = torch.stack([*map(self._factor, range(len(scales)))])
        else:
            factors = torch.cat([scales.new_zeros(1), self.log_scale])
        return torch.stack([scales * factors.exp(), zeros], 1)

    @property
    def learned(self) -> tuple[LearnedQParams, ...]:
        return tuple(LearnedQParams(*edge.unbind()) for edge in self.current_edges.unbind())

    @property
    def qparams(self) -> tuple[QParams, ...]:
        return cast(tuple[QParams, ...], self.learned)  # `run` hands them on, and the leaves take these

    def quantize(self, x: Tensor) -> Tensor:
        """Floats to floats on the codes of the row's first edge."""
        return fake_quantize(x, self.learned[0])

    def dequantize(self, codes: Tensor) -> Tensor:
        return codes

    def enter(self, x: Tensor) -> Tensor:
        return x if self.reads == "uint8" else self.quantize(x)

    def enter_tap(self, tap: int, x: Tensor) -> Tensor:
        edge = self.edge_of_tap[tap]
        return x if edge < 0 or self.tapped[tap] == "uint8" else fake_quantize(x, self.learned[edge])

    def function(self, x: Tensor, *tapped: Tensor) -> Step:
        return self


class QatConvNormAct(ConvNormActRow, QatRow):
    """`Int8ConvNormAct` in training."""


class QatDepthwiseSeparable(DepthwiseSeparableRow, QatRow):
    """`Int8DepthwiseSeparable` in training."""


class QatInvertedResidual(InvertedResidualRow, QatRow):
    """`Int8InvertedResidual` in training."""


class QatBasicBlock(BasicBlockRow, QatRow):
    """`Int8BasicBlock` in training."""


class QatBottleneck(BottleneckRow, QatRow):
    """`Int8Bottleneck` in training."""


class QatMaxPool(Int8MaxPool, QatRow):
    """`Int8MaxPool` in training: the largest of values on codes is on them, too."""

    def build_forward(self, part: Parts, size: Size, *sizes: Size) -> Step:
        return lambda x: F.max_pool2d(x, self.kernel_size, self.stride, self.kernel_size // 2)


class QatGlobalPool(Int8GlobalPool, QatRow):
    """`Int8GlobalPool` in training."""

    def build_forward(self, part: Parts, size: Size, *sizes: Size) -> Step:
        target = self.learned[-1]
        return lambda x: fake_quantize(x.mean((2, 3), dtype=torch.float32), target)


class QatHidden(HiddenRow, QatRow):
    """`Int8Hidden` in training."""


class QatClassifier(ClassifierRow, QatRow):
    """`Int8Classifier` in training, with the dropout of the float form."""

    def __init__(self, layout: Layout) -> None:
        super().__init__(layout)
        if self.log_scale is not None and self.emits == "float32":
            # Scores leave unrounded, and DDP wants no idle parameter.
            self.log_scale.requires_grad_(False)

    def enter(self, x: Tensor) -> Tensor:
        return F.dropout(super().enter(x), self.dropout, self.training)
