"""Products of a few vectors and int8 weights, by `torch._int_mm`.

It takes weights as they lie in memory, and starts in a tenth of the time that oneDNN's quantized linear layer takes to
start. For one vector it reads them at the memory's speed; for more it is the quicker one where weights are small.

Shapes: N vectors, I inputs, O outputs.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable

import torch
from torch import Tensor

from zoo.engine import arithmetic
from zoo.engine.arithmetic import QParams
from zoo.engine.cpu.codes import signed_codes

LEAST = 8  # inputs; products of one are wrong, silently, in torch 2.14
SMALL = 2**18  # weights of a layer that takes several vectors
MOST = 2**22  # products of those
_SIGN = torch.tensor(128, dtype=torch.uint8, device="cpu")  # an operator takes a tensor in less time than a number


class Few:
    """int8 weights (O, I) with their scales and biases (O,), as functions of few vectors; `source` is their edge."""

    def __init__(self, weight: Tensor, scale: Tensor, bias: Tensor, source: QParams) -> None:
        self.columns, self.source, self.scale = weight.t(), source, source.scale * scale
        fold = self.scale * (128 - source.zero_point) * weight.sum(1, dtype=torch.int32)
        self.bias = bias + fold
        weights = weight.numel()
        self.most = 0 if weight.shape[1] < LEAST else max(1, MOST // weights) if weights <= SMALL else 1
        self.rounding = float(fold.abs().max()) * 2.0**-22  # what the fold may cost, in real values

    def fits(self, x: Tensor) -> bool:
        """Whether the vectors (N, I) are few."""
        return x.dim() == 2 and x.shape[0] <= self.most

    def __call__(self, x: Tensor) -> Tensor:
        """Floats, or uint8 codes on `source`, (N, I) to floats (N, O)."""
        codes = x.bitwise_xor(_SIGN).view(torch.int8) if x.dtype == torch.uint8 else signed_codes(x, self.source)
        return torch.addcmul(self.bias, torch._int_mm(codes, self.columns), self.scale)

    def by_token(self, x: Tensor, scale: Tensor) -> Tensor:
        """Floats (N, I), each vector in units of its own `scale` (N, 1)."""
        sums = torch._int_mm(signed_codes(x / scale, self.source), self.columns)
        return torch.addcmul(self.bias, sums * self.scale, scale)


@functools.cache
@arithmetic.undisturbed()
def trusted() -> bool:
    """Whether the product is there, fast, and right for the widest codes: compared once in a process."""
    if not getattr(torch.cpu, "_is_vnni_supported", lambda: False)():
        return False
    try:
        return all(itertools.starmap(_agrees, itertools.product((1, 2, 5, 32), (LEAST, 13, 72, 256), (1, 24))))
    except (AttributeError, RuntimeError, NotImplementedError):
        return False


def _agrees(count: int, inputs: int, outputs: int) -> bool:
    generator = torch.Generator().manual_seed(0)
    drawn: Callable[..., Tensor] = functools.partial(torch.randint, generator=generator)
    codes, weight = drawn(-128, 128, (count, inputs)), drawn(-127, 128, (outputs, inputs))
    codes[0], weight[0], weight[1:2] = -128, 127, -127
    found = torch._int_mm(codes.to(torch.int8), weight.to(torch.int8).t())
    return found.dtype == torch.int32 and torch.equal(found.long(), codes @ weight.t())
