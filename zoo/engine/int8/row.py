"""What int8 rows share: they quantize float input at their entry, and between them flow bare uint8 codes."""

from __future__ import annotations

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
        codes = numerics(x.device).quantize(x.float(), self.qparams[0])
        return codes.contiguous(memory_format=torch.channels_last) if codes.dim() == 4 else codes

    def dequantize(self, codes: Tensor) -> Tensor:
        return plain().dequantize(codes, self.qparams[-1])

    def enter(self, x: Tensor) -> Tensor:
        return x if x.dtype == torch.uint8 else self.quantize(x)

    def function(self, x: Tensor) -> Step:
        if not runs_fast(x.device):
            return self
        step = self.build_forward(as_function, x.shape[2:])
        if x.dtype != torch.uint8:
            step = _behind(step, self.qparams[0])
        floats = self.emits != "uint8" and not self.ends_in_floats
        return _before_floats(step, self.qparams[-1]) if floats else step


def _behind(step: Step, qparams: QParams) -> Step:
    def call(x: Tensor) -> Tensor:
        codes = whole_codes(x.float(), qparams)
        return step(codes.contiguous(memory_format=torch.channels_last) if codes.dim() == 4 else codes)

    return call


def _before_floats(step: Step, qparams: QParams) -> Step:
    return lambda x: arithmetic.dequantize(step(x), qparams)
