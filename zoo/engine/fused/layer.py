"""The fused leaves: a convolution or linear layer with its norm folded in, and a squeeze-and-excite, in float32."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.engine import arithmetic
from zoo.engine.arithmetic import Size
from zoo.engine.cpu import floats
from zoo.engine.leaf import Leaf
from zoo.engine.squeeze_excite import SqueezeExciteLeaf


class FusedLayer(Leaf):
    """Float weights (O, C / groups, k, k) or (O, C): called as an int8 layer is, and its edges mean nothing."""

    def _hold(self, shape: tuple[int, ...]) -> None:
        self.register_buffer("weight", torch.zeros(shape, dtype=torch.float32))
        self.register_buffer("bias", torch.zeros(shape[0], dtype=torch.float32))

    def forward(
        self,
        x: Tensor,
        source: Any,
        target: Any,
        skip: Tensor | None = None,
        skip_qparams: Any = None,
        after: str = "none",
    ) -> Tensor:
        if not floats.packs(x) or not x.numel():
            return self.plain(x, skip, after)
        call = self.function(x.shape[2:], source, target, skip_qparams, after)
        return call(x) if skip is None else call(x, skip)

    def function(
        self, size: Size, source: Any, target: Any, skip_qparams: Any = None, after: str = "none"
    ) -> Callable[..., Tensor]:
        """For maps of `size`, a function of `x`, or of `x` and a `skip`, which stays."""
        if self.linear:
            return self.plain
        return floats.function(self, size, adds=skip_qparams is not None, after=after)

    def on_vector(self, x: Tensor, factor: float = 1.0) -> Tensor:
        return arithmetic.activate(F.linear(x * factor, self.weight.flatten(1), self.bias), self.activation)

    def plain(self, x: Tensor, skip: Tensor | None = None, after: str = "none") -> Tensor:
        """The layer in torch's usual operators."""
        if self.linear:
            return arithmetic.activate(F.linear(x, self.weight, self.bias), self.activation)
        y = arithmetic.activate(arithmetic.slide(x, self.weight, self.bias, self.window), self.activation)
        return y if skip is None else arithmetic.activate(y + skip, after)


class FusedSqueezeExcite(SqueezeExciteLeaf):
    """`SqueezeExciteLeaf` of float weights: a float map (B, C, H, W) to floats."""

    def forward(self, x: Tensor, source: Any, target: Any) -> Tensor:
        return x * self.gates(x)

    def function(
        self, size: Size, source: Any, target: Any, skip_qparams: Any = None, after: str = "none"
    ) -> Callable[[Tensor], Tensor]:
        return lambda x: x.mul_(self.gates(x))
