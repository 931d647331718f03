"""The int8 leaf: one convolution or linear layer with integer weights."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from zoo.engine.arithmetic import QParams, Range, Size
from zoo.engine.cpu import integers
from zoo.engine.execution import numerics, plain
from zoo.engine.leaf import Leaf


class Int8Layer(Leaf):
    """Integer weights (O, C / groups, k, k) or (O, C) with their scales and float biases.

    Codes come in, codes or floats go out.
    """

    scale: Tensor
    summand: Range | None = None  # what its output lies in where a shortcut is added; read by exports alone

    def _hold(self, shape: tuple[int, ...]) -> None:
        self.register_buffer("weight", torch.zeros(shape, dtype=torch.int8))
        self.register_buffer("scale", torch.ones(shape[0], dtype=torch.float32))
        self.register_buffer("bias", torch.zeros(shape[0], dtype=torch.float32))

    def forward(
        self,
        x: Tensor,
        source: QParams,
        target: QParams | None,
        skip: Tensor | None = None,
        skip_qparams: QParams | None = None,
        after: str = "none",
    ) -> Tensor:
        """Codes `x` on `source` to codes on `target` (floats where None).

        `skip` codes are added before rounding, and the activation called `after` follows that sum.
        """
        return numerics(x.device).layer(self, x, source, target, skip, skip_qparams, after)

    def function(
        self,
        size: Size,
        source: QParams,
        target: QParams | None,
        skip_qparams: QParams | None = None,
        after: str = "none",
    ) -> Callable[..., Tensor]:
        """A function of `x`, or of `x` and a `skip`, which it overwrites."""
        return integers.function(self, size, source, target, skip_qparams, after)

    def on_vector(self, x: Tensor, factor: float = 1.0) -> Tensor:
        """(B, C) floats, times `factor`, to (B, O) floats by the integer weights: the same on every processor."""
        return plain().vector(self, x, factor)
