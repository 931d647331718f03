"""Products of floats and integer weights on this processor, by torch's integer products.

A float vector is cut into two int8 vectors, `x = unit * (256 * high + low)`: 16 bits for the largest value of each
token. Both are multiplied exactly with the int8 weights. So the time is near that of reading the weights once.

`torch._int_mm` takes weights as they lie in memory, and has kernels for one row that are twice as quick as those for
two. So the two pieces of one token are multiplied one after the other, with `LARGE` bytes of weights at a time: the
second finds them in the cache. For several tokens weights of more than that are packed at first use for oneDNN's
quantized linear layer.

torch's own products for integer weights (`_weight_int8pack_mm`, `_weight_int4pack_mm_for_cpu`) reach a half to a third
of the memory's speed with bfloat16 vectors, and a twentieth with float32.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from zoo.engine.arithmetic import undisturbed

REACH = 32512  # 127 * 256: the largest value
LARGE = 2**20  # bytes of weights, of which the second cache keeps as many while the first piece is multiplied
TOGETHER = 128  # tokens that are multiplied at a time
_MIDDLE = torch.tensor(1.5 * 2**23 + 128, dtype=torch.float32, device="cpu")
_SIGN = torch.tensor(128, dtype=torch.int32, device="cpu")  # an operator takes a tensor in less time than a number
_SIGN8 = torch.tensor(128, dtype=torch.uint8, device="cpu")


class Pieces(NamedTuple):
    """Vectors (..., I) of T tokens as int8 `parts` (2, T, I), the low and the high ones; `largest` (T, 1)."""

    parts: Tensor
    largest: Tensor
    shape: torch.Size


def split(x: Tensor) -> Pieces:
    """Floats (..., I) in two pieces."""
    shape = x.shape
    x = x.float().reshape(-1, shape[-1])
    largest = torch.linalg.vector_norm(x, math.inf, 1, True)
    # The addition rounds: from 2**23 to 2**24 a float32 holds whole numbers alone, and their lowest 16 bits
    # are its own. Behind the addition of 128, flipping the low byte's highest bit makes it a signed number.
    whole = torch.addcdiv(_MIDDLE, x, largest, value=REACH).view(torch.int32).bitwise_xor_(_SIGN)
    parts = whole.view(torch.int8).view(-1, 4)[:, :2].t().contiguous().view(2, *x.shape)
    return Pieces(parts, largest, shape)


class Packed:
    """int8 weights (O, I), ready to be multiplied; scales (O,), and biases (O,) or None."""

    def __init__(self, codes: Tensor, scale: Tensor, bias: Tensor | None, *, large: int = LARGE) -> None:
        self.codes, self.bias, self.scale = codes, bias, scale
        self.of_low, self.of_high = scale / REACH, scale * (256 / REACH)
        self.sums_fit = int(codes.to(torch.int16).abs().sum(1).max()) < 2**31 // (256 * 127 + 128)
        self.chunks = [chunk.t() for chunk in codes.tensor_split(-(-codes.numel() // large))]
        self._rows: Callable[[Tensor], Tensor] | None = None

    def __call__(self, x: Pieces) -> Tensor:
        if len(x.largest) == 1:
            y = self._one(x)
        else:
            groups = zip(x.parts.split(TOGETHER, 1), x.largest.split(TOGETHER), strict=True)
            y = torch.cat([self._many(parts.reshape(-1, parts.shape[2]), largest) for parts, largest in groups])
        return y.view(*x.shape[:-1], -1)

    def _one(self, x: Pieces) -> Tensor:
        low, high = self._sums(*x.parts.unbind())
        if self.sums_fit:  # in 32 bits, whatever the token
            y = torch.mul(torch.add(low, high, alpha=256), self.of_low)
        else:
            y = torch.mul(high, self.of_high).add_(torch.mul(low, self.of_low))
        return y.mul_(x.largest) if self.bias is None else torch.addcmul(self.bias, y, x.largest)

    def _sums(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        if len(self.chunks) == 1:
            return torch._int_mm(low, self.chunks[0]), torch._int_mm(high, self.chunks[0])
        pairs = [(torch._int_mm(low, chunk), torch._int_mm(high, chunk)) for chunk in self.chunks]
        lows, highs = zip(*pairs, strict=True)
        return torch.cat(lows, 1), torch.cat(highs, 1)

    def _many(self, parts: Tensor, largest: Tensor) -> Tensor:
        both = torch._int_mm(parts, self.chunks[0]) * self.scale if len(self.chunks) == 1 else self._packed()(parts)
        low, high = both.chunk(2)
        y = torch.add(low, high, alpha=256.0).mul_(largest * (1 / REACH))
        return y if self.bias is None else y.add_(self.bias)

    def _packed(self) -> Callable[[Tensor], Tensor]:
        if self._rows is None:
            with torch.inference_mode(False), torch.no_grad():
                self._rows = _rows(self.codes, self.scale)
        return self._rows


def _rows(codes: Tensor, scale: Tensor) -> Callable[[Tensor], Tensor]:
    """(R, I) int8 to (R, O) floats, by weights packed once. oneDNN takes uint8 with a zero point of 128."""
    packed = torch.ops.onednn.qlinear_prepack(codes, None)
    zeros = torch.zeros(len(scale), dtype=torch.int64, device="cpu")
    run = torch.ops.onednn.qlinear_pointwise.default

    def product(x: Tensor) -> Tensor:
        x = x.view(torch.uint8) ^ _SIGN8
        return run(x, 1.0, 128, packed, scale, zeros, None, 1.0, 0, torch.float32, "none", [], "")

    return product


@functools.cache
@undisturbed()
def trusted() -> bool:
    """Whether the product is there, fast, and right for the widest codes: compared once in a process."""
    if not getattr(torch.cpu, "_is_vnni_supported", lambda: False)():
        return False
    try:
        generator = torch.Generator().manual_seed(0)
        weight = torch.randint(-127, 128, (24, 72), generator=generator).to(torch.int8)
        weight[0], weight[1] = 127, -127
        scale, bias = (torch.linspace(low, high, 24, dtype=torch.float32) for low, high in ((0.5, 2), (-5, 5)))
        x = torch.randn(3, 72, generator=generator, dtype=torch.float32)
        x[1], x[2, 0] = 1.0, 100.0
        for tokens, large in itertools.product((1, 3), (LARGE, 500)):
            packed = Packed(weight, scale, bias, large=large)
            exact = x[:tokens].double() @ (weight.double() * scale.double()[:, None]).t() + bias
            limit = 2 * 72 * 254 * x[:tokens].abs().amax(1, keepdim=True) / REACH
            if not bool(((packed(split(x[:tokens])) - exact).abs() <= limit).all()):
                return False
        return True
    except (AttributeError, RuntimeError, NotImplementedError):
        return False
