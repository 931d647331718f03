"""What the executions of exporters share: products of floats by integer weights are left to the runtime."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.blocks.joins import resized
from zoo.engine.arithmetic import QParams, Range, Size, activate
from zoo.engine.reference import Reference
from zoo.runtime.numerics import unrounded

if TYPE_CHECKING:
    from zoo.engine.int8.layer import Int8Layer
    from zoo.engine.int8.tokens import TokenLinear


class Exported(Reference):
    """The reference in the operators of another runtime; a subclass says which."""

    def multiply_floats(self, x: Tensor, weight: Tensor, scale: Tensor, bias: Tensor | None) -> Tensor:
        """(..., C) floats to (..., O) floats by integer weights (O, C)."""
        raise TypeError(f"{type(self).__name__} does not say how floats are multiplied.")

    def largest(self, codes: Tensor, qparams: QParams, kernel_size: int, stride: int) -> Tensor:
        """(B, C, H, W) codes to the largest of each window, (B, C, ceil(H / stride), ceil(W / stride))."""
        return self.quantize(
            F.max_pool2d(self.dequantize(codes, qparams), kernel_size, stride, kernel_size // 2), qparams
        )

    def concat(self, codes: Sequence[Tensor], sources: Sequence[QParams], target: QParams) -> Tensor:
        floats = [self.dequantize(one, source) for one, source in zip(codes, sources, strict=True)]
        return self.quantize(torch.cat(floats, 1), target)

    def moved(self, codes: Tensor, qparams: QParams, move: Callable[[Tensor], Tensor]) -> Tensor:
        return self.quantize(move(self.dequantize(codes, qparams)), qparams)

    def upsample(self, codes: Tensor, qparams: QParams, size: Size, mode: str) -> Tensor:
        return self.quantize(resized(self.dequantize(codes, qparams), size, mode), qparams)

    def before_sum(self, y: Tensor, skip_qparams: QParams, after: str, target: QParams, seen: Range | None) -> Tensor:
        """Floats that a skip on `skip_qparams` is added to, rounded: runtimes add in integers only between codes.

        The range is the one that calibration has `seen`. Without it, the range is the widest that changes a code
        behind the sum.
        """
        return self.rounded(y, unrounded.summand_qparams(skip_qparams, after, target, seen))

    def rounded(self, y: Tensor, qparams: QParams) -> Tensor:
        """Floats to the nearest floats that have a code."""
        return self.dequantize(self.quantize(y, qparams), qparams)

    def by_token(self, leaf: TokenLinear, x: Tensor) -> Tensor:
        return self.multiply_floats(x, leaf.weight, leaf.scale, leaf.bias if leaf.has_bias else None)

    def product(self, leaf: TokenLinear, codes: Tensor, source: QParams) -> Tensor:
        if leaf.has_bias:
            return super().product(leaf, codes, source)
        return self.multiply_floats(self.dequantize(codes, source), leaf.weight, leaf.scale, None)

    def vector(self, leaf: Int8Layer, x: Tensor, factor: float = 1.0) -> Tensor:
        return activate(self.multiply_floats(x * factor, leaf.weight, leaf.scale, leaf.bias), leaf.activation)

    def squeezed(self, leaf: Int8Layer, x: Tensor) -> Tensor:
        return leaf.on_vector(x.mean((-1, -2), keepdim=True).flatten(1))
