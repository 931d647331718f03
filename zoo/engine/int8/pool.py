"""Pooling of uint8 codes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zoo.engine.arithmetic import Size
from zoo.engine.cpu.call_plan import Step
from zoo.engine.execution import plain
from zoo.engine.int8.row import Int8Row
from zoo.engine.row import Parts

if TYPE_CHECKING:
    from zoo.kinds import Layout


class Int8MaxPool(Int8Row):
    """The largest code of each window is the code of the largest value: (B, C, H, W), both on one edge."""

    def __init__(self, layout: Layout) -> None:
        super().__init__(layout)
        self.kernel_size: int = layout.args["kernel_size"]
        self.stride: int = layout.args["stride"]

    def build_forward(self, part: Parts, size: Size, *sizes: Size) -> Step:
        (qparams,), largest = self.qparams, plain().largest
        return lambda x: largest(x, qparams, self.kernel_size, self.stride)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, {super().extra_repr()}"


class Int8GlobalPool(Int8Row):
    """Mean over height and width of uint8 codes: (B, C, H, W) to (B, C)."""

    def build_forward(self, part: Parts, size: Size, *sizes: Size) -> Step:
        (source, target), numerics = self.qparams, plain()
        return lambda x: numerics.quantize(numerics.mean(x, source), target)
