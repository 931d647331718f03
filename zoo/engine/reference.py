"""`arithmetic` as an execution: every other execution is this one with some of its steps replaced."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.blocks.joins import resized
from zoo.blocks.traced import traced
from zoo.engine import arithmetic
from zoo.engine.arithmetic import QParams, Size

if TYPE_CHECKING:
    from zoo.engine.int8.layer import Int8Layer
    from zoo.engine.int8.tokens import TokenLinear


class Reference:
    """int8 in plain float operators (`zoo.engine.numerics.Numerics`)."""

    quantize = staticmethod(arithmetic.quantize)
    dequantize = staticmethod(arithmetic.dequantize)
    convolve = staticmethod(arithmetic.convolve)
    multiply = staticmethod(arithmetic.multiply)
    mean = staticmethod(arithmetic.mean)
    largest = staticmethod(arithmetic.largest)
    before_activation = staticmethod(arithmetic.before_activation)
    before_sum = staticmethod(arithmetic.before_sum)

    def layer(
        self,
        leaf: Int8Layer,
        x: Tensor,
        source: QParams,
        target: QParams | None,
        skip: Tensor | None = None,
        skip_qparams: QParams | None = None,
        after: str = "none",
    ) -> Tensor:
        if leaf.linear:
            y = self.multiply(x, source, leaf.weight, leaf.scale, leaf.bias)
        else:
            y = self.convolve(x, source, leaf.weight, leaf.scale, leaf.bias, leaf.window)
        y = self.before_activation(y, leaf.activation, target, skip_qparams, after)
        y = arithmetic.activate(y, leaf.activation)
        if skip is not None:
            assert skip_qparams is not None and target is not None
            y = self.before_sum(y, skip_qparams, after, target, leaf.summand)
            y = arithmetic.activate(y + self.dequantize(skip, skip_qparams), after)
        return y if target is None else self.quantize(y, target)

    def add(
        self, x: Tensor, source: QParams, other: Tensor, other_source: QParams, activation: str, target: QParams
    ) -> Tensor:
        y = self.dequantize(x, source) + self.dequantize(other, other_source)
        return self.quantize(arithmetic.activate(y, activation), target)

    def concat(self, codes: Sequence[Tensor], sources: Sequence[QParams], target: QParams) -> Tensor:
        alike = [
            one if source == target else self.quantize(self.dequantize(one, source), target)
            for one, source in zip(codes, sources, strict=True)
        ]
        return torch.cat(alike, 1)

    def moved(self, codes: Tensor, qparams: QParams, move: Callable[[Tensor], Tensor]) -> Tensor:
        return move(codes)

    def upsample(self, codes: Tensor, qparams: QParams, size: Size, mode: str) -> Tensor:
        if mode == "nearest":
            return self.moved(codes, qparams, lambda x: resized(x, size, mode))
        units = resized(codes.float() - qparams.zero_point, size, mode)
        return units.round_().add_(qparams.zero_point).to(torch.uint8)

    def tokens(self, leaf: TokenLinear, x: Tensor, source: QParams | None, target: QParams | None) -> Tensor:
        if source is None:
            return arithmetic.activate(self.by_token(leaf, x), leaf.activation)
        codes = x if x.dtype == torch.uint8 else self.quantize(x, source)
        y = arithmetic.activate(self.product(leaf, codes, source), leaf.activation)
        return y if target is None else self.quantize(y, target)

    def by_token(self, leaf: TokenLinear, x: Tensor) -> Tensor:
        """(..., C) floats to (..., O) floats, every token in codes on a scale of its own."""
        return multiply_by_token(x, leaf.weight, leaf.scale, leaf.bias if leaf.has_bias else None)

    def product(self, leaf: TokenLinear, codes: Tensor, source: QParams) -> Tensor:
        """(..., C) codes to (..., O) floats."""
        return self.multiply(codes, source, leaf.weight, leaf.scale, leaf.bias)

    def vector(self, leaf: Int8Layer, x: Tensor, factor: float = 1.0) -> Tensor:
        """For one position oneDNN's set-up, and the codes of what comes in, would take longer than the product.

        That sums in float64, so that a picture's answer does not depend on how many others are in the batch; Apple's
        GPUs have none.
        """
        wide = torch.float32 if x.device.type == "mps" else torch.float64

        def real() -> tuple[Tensor, Tensor]:
            weight = (leaf.weight.flatten(1).to(wide) * leaf.scale.to(wide)[:, None]).T.contiguous()
            return weight, leaf.bias.to(wide)

        if traced():  # a graph has the same operators each time
            with torch.inference_mode(False), torch.no_grad():
                weight, bias = real()
        else:
            weight, bias = leaf.remember("vector", real)
        return arithmetic.activate(torch.addmm(bias, x.to(weight.dtype), weight, alpha=factor).float(), leaf.activation)

    def squeezed(self, leaf: Int8Layer, x: Tensor) -> Tensor:
        places = x.shape[2] * x.shape[3]
        return leaf.on_vector(x.sum((2, 3), dtype=torch.float32), 1.0 / places)


def token_scale(x: Tensor) -> Tensor:
    """(..., C) floats to the scale of each token's codes, (..., 1)."""
    return x.abs().amax(-1, keepdim=True).clamp_min_(1e-12).mul_(1.0 / 127)


def multiply_by_token(x: Tensor, weight: Tensor, scale: Tensor, bias: Tensor | None) -> Tensor:
    """The dynamic product in plain operators: (..., C) floats to (..., O)."""
    of_token = token_scale(x.float())
    codes = (x.float() / of_token).round_().clamp_(-128, 127)
    with arithmetic.exact(x.device):
        sums = F.linear(codes, weight.float())
    sums = sums * scale
    return sums * of_token if bias is None else torch.addcmul(bias, sums, of_token)


REFERENCE = Reference()
