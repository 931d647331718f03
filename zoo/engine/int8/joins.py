"""Maps that are joined, parted and moved in codes.

Shapes: B batch, C channels, H and W height and width; maps are channels_last.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from zoo.blocks.joins import size_of
from zoo.blocks.pool import averaged, on_grid
from zoo.engine.arithmetic import QParams, Size
from zoo.engine.cpu.call_plan import Step
from zoo.engine.dense import ChannelGateRow, SegmentationHeadRow
from zoo.engine.execution import numerics
from zoo.engine.int8.row import Int8Row
from zoo.engine.row import Parts

if TYPE_CHECKING:
    from zoo.kinds import Layout


class Int8Branch(Int8Row):
    """The codes of the tapped row; what the row before gives goes no further."""

    def enter(self, x: Tensor) -> Tensor:
        return x

    def function(self, x: Tensor, *tapped: Tensor) -> Step:
        return self

    def build_forward(self, part: Parts, size: Size, *sizes: Size) -> Step:
        return lambda x, tapped: tapped.clone()  # the row behind may write over it


class Int8Add(Int8Row):
    """The sum of two maps of codes, each with its own scale, rounded once: (B, C, H, W)."""

    def __init__(self, layout: Layout) -> None:
        super().__init__(layout)
        self.activation: str = layout.args["activation"]

    def build_forward(self, part: Parts, size: Size, *sizes: Size) -> Step:
        (first, second, target), add = self.qparams, numerics(self.edges.device).add
        return lambda x, tapped: add(x, first, tapped, second, self.activation, target)


class Int8Concat(Int8Row):
    """Codes, one behind the other; those that have another scale than the output are converted."""

    def build_forward(self, part: Parts, size: Size, *sizes: Size) -> Step:
        *sources, target = self.qparams
        concat = numerics(self.edges.device).concat
        return lambda x, *tapped: concat((x, *tapped), sources, target)


class Int8Slice(Int8Row):
    """Some channels of a map of codes."""

    def __init__(self, layout: Layout) -> None:
        super().__init__(layout)
        self.channels: int = layout.args["channels"]
        self.before: int = layout.args["before"]

    def build_forward(self, part: Parts, size: Size, *sizes: Size) -> Step:
        (qparams,), moved = self.qparams, numerics(self.edges.device).moved
        return lambda x: moved(x, qparams, self._channels)

    def _channels(self, x: Tensor) -> Tensor:
        return x[:, self.before : self.before + self.channels].contiguous(memory_format=torch.channels_last)


class Int8Upsample(Int8Row):
    """A map of codes at another size, on the same edge: between codes lie no values beyond them."""

    def __init__(self, layout: Layout) -> None:
        super().__init__(layout)
        self.scale_factor: int = layout.args["scale_factor"]
        self.mode: str = layout.args["mode"]

    def build_forward(self, part: Parts, size: Size, *sizes: Size) -> Step:
        (qparams,), upsample = self.qparams, numerics(self.edges.device).upsample
        return lambda x, *tapped: upsample(x, qparams, size_of(x, self.scale_factor, *tapped), self.mode)


class Int8AvgPool(Int8Row):
    """The mean of each window of codes, the border left out."""

    def __init__(self, layout: Layout) -> None:
        super().__init__(layout)
        self.kernel_size: int = layout.args["kernel_size"]
        self.stride: int = layout.args["stride"]

    def build_forward(self, part: Parts, size: Size, *sizes: Size) -> Step:
        (source, target), execution = self.qparams, numerics(self.edges.device)

        def run(x: Tensor) -> Tensor:
            means = averaged(execution.dequantize(x, source), self.kernel_size, self.stride)
            return execution.quantize(means, target)

        return run


class Int8AdaptiveAvgPool(Int8Row):
    """The means of a grid of equal parts of a map of codes."""

    def __init__(self, layout: Layout) -> None:
        super().__init__(layout)
        self.size: int = layout.args["size"]

    def build_forward(self, part: Parts, size: Size, *sizes: Size) -> Step:
        (source, target), execution = self.qparams, numerics(self.edges.device)
        return lambda x: execution.quantize(on_grid(execution.dequantize(x, source), self.size), target)


class Int8ChannelGate(ChannelGateRow, Int8Row):
    """`ChannelGate` of codes."""

    def pooled(self, tapped: Tensor, source: QParams) -> Tensor:
        return numerics(tapped.device).mean(tapped, source)

    def weighted(self, x: Tensor, gates: Tensor, source: QParams, target: QParams) -> Tensor:
        execution = numerics(x.device)
        return execution.quantize(execution.dequantize(x, source) * gates, target)


class Int8SegmentationHead(SegmentationHeadRow, Int8Row):
    """`SegmentationHead` with integer weights."""
