"""How the heads of detectors are wired, once for int8, qat and fused.

Each map has its own edge, and so have the depthwise parts for classes and for boxes; what the 1x1 convolutions give is
floats, so that scores and coordinates share no scale.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor

from zoo.blocks.detection import listed
from zoo.engine.arithmetic import Size
from zoo.engine.cpu.call_plan import Step
from zoo.engine.row import Parts, Row

if TYPE_CHECKING:
    from zoo.kinds import Layout


class DetectionHeadRow(Row):
    """`DetectionHead`: codes on the edges of the maps to floats (B, N, numbers)."""

    ends_in_floats = True

    def __init__(self, layout: Layout) -> None:
        super().__init__(layout)
        self.values = self.numbers(layout.args)

    @staticmethod
    def numbers(args: Any) -> tuple[int, int]:
        """How many numbers an answer has for its classes, and how many for its box."""
        raise TypeError("A detection head says what its numbers are.")

    def build_forward(self, part: Parts, size: Size, *sizes: Size) -> Step:
        levels = (size, *sizes)
        edges = iter(self.qparams[len(levels) :])
        chains = []
        for level, (at, source) in enumerate(zip(levels, self.qparams, strict=False)):
            for name in ("cls", "box"):
                predictor: Any = self.get_submodule(f"{name}{level}")
                steps, given = [], source
                if hasattr(predictor, "depthwise"):
                    given = next(edges)
                    steps.append(part(predictor.depthwise, at, source, given))
                steps.append(part(predictor.project, at, given, None))
                chains.append((level, steps))
        values = self.values

        def run(*maps: Tensor) -> Tensor:
            found = []
            for level, steps in chains:
                x = maps[level]
                for step in steps:
                    x = step(x)
                found.append(x)
            return listed(found, values)

        return run


class SSDHeadRow(DetectionHeadRow):
    """`SSDHead`."""

    @staticmethod
    def numbers(args: Any) -> tuple[int, int]:
        return 1 + args["num_classes"], 4


class GFLHeadRow(DetectionHeadRow):
    """`GFLHead`."""

    @staticmethod
    def numbers(args: Any) -> tuple[int, int]:
        return args["num_classes"], 4 * (args["reg_max"] + 1)
