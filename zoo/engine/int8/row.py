"""What int8 rows share: they quantize float input at their entry, and between them flow bare uint8 codes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from zoo.engine import arithmetic
from zoo.engine.arithmetic import QParams
from zoo.engine.cpu.call_plan import Step
from zoo.engine.cpu.codes import whole_codes
from zoo.engine.execution import numerics, plain, runs_fast
from zoo.engine.int8.layer import Int8Layer
from zoo.engine.int8.ranged import Ranged
from zoo.engine.int8.squeeze_excite import Int8SqueezeExcite
from zoo.engine.leaf import Leaf
from zoo.engine.row import Row, as_function
from zoo.engine.squeeze_excite import SqueezeExciteLeaf


class Int8Row(Ranged, Row):
    """Shapes: B batch, C channels, H and W height and width; maps are channels_last, as the operators want them."""

    layer: type[Leaf] = Int8Layer
    squeeze_excite: type[SqueezeExciteLeaf] = Int8SqueezeExcite

    def quantize(self, x: Tensor) -> Tensor:
        """Floats to codes on the row's first edge."""
        return _arranged(numerics(x.device).quantize(x.float(), self.qparams[0]))

    def dequantize(self, codes: Tensor) -> Tensor:
        return plain().dequantize(codes, self.qparams[-1])

    def enter(self, x: Tensor) -> Tensor:
        return x if x.dtype == torch.uint8 else self.quantize(x)

    def enter_tap(self, tap: int, x: Tensor) -> Tensor:
        edge = self.edge_of_tap[tap]
        if edge < 0 or x.dtype == torch.uint8:
            return x
        return _arranged(numerics(x.device).quantize(x.float(), self.qparams[edge]))

    def function(self, x: Tensor, *tapped: Tensor) -> Step:
        if not runs_fast(x.device):
            return self
        step = self.build_forward(as_function, x.shape[2:], *(one.shape[2:] for one in tapped))
        if x.dtype != torch.uint8:
            step = _behind(step, self.qparams[0])
        if any(edge >= 0 and one.dtype != torch.uint8 for edge, one in zip(self.edge_of_tap, tapped, strict=True)):
            step = _behind_taps(step, self.enter_tap)
        floats = self.emits != "uint8" and not self.ends_in_floats
        return _before_floats(step, self.qparams[-1]) if floats else step


def _arranged(codes: Tensor) -> Tensor:
    return codes.contiguous(memory_format=torch.channels_last) if codes.dim() == 4 else codes


def _behind(step: Step, qparams: QParams) -> Step:
    return lambda x, *tapped: step(_arranged(whole_codes(x.float(), qparams)), *tapped)


def _behind_taps(step: Step, enter: Callable[[int, Tensor], Tensor]) -> Step:
    return lambda x, *tapped: step(x, *(enter(tap, one) for tap, one in enumerate(tapped)))


def _before_floats(step: Step, qparams: QParams) -> Step:
    return lambda x, *tapped: arithmetic.dequantize(step(x, *tapped), qparams)
