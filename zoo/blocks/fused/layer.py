"""The fused leaves: a convolution or linear layer with its norm folded in, and a squeeze-and-excite, in float32."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.blocks.int8 import arithmetic, packed
from zoo.blocks.int8.arithmetic import Size
from zoo.blocks.int8.execution import forced
from zoo.blocks.int8.layer import Int8Layer
from zoo.blocks.int8.squeeze_excite import Int8SqueezeExcite


class FusedLayer(Int8Layer):
    """`Int8Layer` with float weights (O, C / groups, k, k) or (O, C): called alike, and its edges mean nothing."""

    def _hold(self, shape: tuple[int, ...]) -> None:
        self.register_buffer("weight", torch.zeros(shape, dtype=torch.float32))
        self.register_buffer("bias", torch.zeros(shape[0], dtype=torch.float32))

    def forward(
        self,
        x: Tensor,
        source: Any,
        target: Any,
        skip: Tensor | None = None,
        skip_edge: Any = None,
        after: str = "none",
    ) -> Tensor:
        if not packs(x) or not x.numel():
            return self._plain(x, source, target, skip, skip_edge, after)
        call = self.bound(x.shape[2:], source, target, skip_edge, after)
        return call(x) if skip is None else call(x, skip)

    def on_vector(self, x: Tensor, factor: float = 1.0) -> Tensor:
        """(B, C) floats, times `factor`, to (B, O) floats."""
        return arithmetic.activate(F.linear(x * factor, self.weight.flatten(1), self.bias), self.activation)

    def _is_product(self, skip_edge: Any) -> bool:
        return self.linear

    def _bind(self, size: Size, source: Any, target: Any, skip_edge: Any, after: str) -> Callable[..., Tensor]:
        """For maps of `size`, a function of `x`, or of `x` and a `skip`, which stays."""
        if self.linear:
            return lambda x: self._plain(x, source, target, None, None, "none")
        if skip_edge is not None and self.activation != "none":
            convolve = self.bound(size, source, target)
            return lambda x, skip: arithmetic.activate(convolve(x).add_(skip), after)
        activation = self.activation if skip_edge is None else after
        return packed.convolution(
            self.weight, self.bias, window=self.window, size=size, activation=activation, adds=skip_edge is not None
        )

    def _plain(self, x: Tensor, source: Any, target: Any, skip: Tensor | None, skip_edge: Any, after: str) -> Tensor:
        if self.linear:
            return arithmetic.activate(F.linear(x, self.weight, self.bias), self.activation)
        y = arithmetic.activate(arithmetic.slide(x, self.weight, self.bias, self.window), self.activation)
        return y if skip is None else arithmetic.activate(y + skip, after)


class FusedSqueezeExcite(Int8SqueezeExcite):
    """`Int8SqueezeExcite` of float weights: a float map (B, C, H, W) to floats."""

    layer = FusedLayer

    def forward(self, x: Tensor, source: Any, target: Any) -> Tensor:
        return x * self.gates(x)

    def bound(
        self, size: Size, source: Any, target: Any, skip_edge: Any = None, after: str = "none"
    ) -> Callable[[Tensor], Tensor]:
        return lambda x: x.mul_(self.gates(x))


def packs(x: Tensor) -> bool:
    """Whether `x` goes through packed weights: on the CPU, for inference, where torch has the operators."""
    return (
        x.device.type == "cpu"
        and x.dtype == torch.float32
        and not x.requires_grad
        and not forced()
        and packed.available()
    )
