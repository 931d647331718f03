"""The fused leaves: a convolution or linear layer with its norm folded in, and a squeeze-and-excite, in float32."""

import functools
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.blocks.int8 import arithmetic
from zoo.blocks.int8.arithmetic import Size
from zoo.blocks.int8.execution import forced
from zoo.blocks.int8.layer import Int8Layer
from zoo.blocks.int8.squeeze_excite import Int8SqueezeExcite

# our activation -> (oneDNN's post-op, its scalars)
POST_OPS: dict[str, tuple[str, list[float]]] = {
    "none": ("none", []),
    "relu": ("relu", []),
    "relu6": ("hardtanh", [0.0, 6.0]),
    "hard_swish": ("hardswish", []),
    "swish": ("swish", []),
}


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
        return call(x) if skip is None else call(x, skip.clone(memory_format=torch.channels_last))

    def on_vector(self, x: Tensor, factor: float = 1.0) -> Tensor:
        """(B, C) floats, times `factor`, to (B, O) floats."""
        return arithmetic.activate(F.linear(x * factor, self.weight.flatten(1), self.bias), self.activation)

    def _bind(self, size: Size, source: Any, target: Any, skip_edge: Any, after: str) -> Callable[..., Tensor]:
        """For maps of `size`, a function of `x`, or of `x` and a `skip`, which it overwrites."""
        if self.linear:
            return lambda x: self._plain(x, source, target, None, None, "none")
        if skip_edge is not None and self.activation != "none":
            convolve = self.bound(size, source, target)
            return lambda x, skip: arithmetic.activate(convolve(x).add_(skip), after)
        left, right, top, bottom = self.window.borders(size, self.weight.shape[-1])
        uneven = (left, top) != (right, bottom)
        border = (left, right, top, bottom) if uneven else (0, 0, 0, 0)
        padding = [0, 0] if uneven else [top, left]
        stride, dilation, groups = [self.window.stride] * 2, [self.window.dilation] * 2, self.window.groups
        shape = [1, self.weight.shape[1] * groups, size[0] + sum(border[2:]), size[1] + sum(border[:2])]
        weight = torch.ops.mkldnn._reorder_convolution_weight(
            self.weight.contiguous(), padding, stride, dilation, groups, shape
        )
        bias = self.bias
        if skip_edge is None:
            run, (post_op, scalars) = torch.ops.mkldnn._convolution_pointwise.default, POST_OPS[self.activation]

            def call(x: Tensor) -> Tensor:
                x = F.pad(x, border) if uneven else x
                return run(x, weight, bias, padding, stride, dilation, groups, post_op, scalars, "")

            return call
        add, (post_op, scalars) = torch.ops.mkldnn._convolution_pointwise_.binary, POST_OPS[after]

        def call_add(x: Tensor, skip: Tensor) -> Tensor:
            x = F.pad(x, border) if uneven else x
            unary = None if post_op == "none" else post_op
            return add(skip, x, weight, bias, padding, stride, dilation, groups, "add", 1.0, unary, scalars, "")

        return call_add

    def _plain(self, x: Tensor, source: Any, target: Any, skip: Tensor | None, skip_edge: Any, after: str) -> Tensor:
        if self.linear:
            return arithmetic.activate(F.linear(x, self.weight, self.bias), self.activation)
        left, right, top, bottom = self.window.borders(x.shape[2:], self.weight.shape[-1])
        if (left, top) != (right, bottom):
            x = F.pad(x, (0, right - left, 0, bottom - top))
        stride, dilation, groups, _ = self.window
        y = F.conv2d(x, self.weight, self.bias, stride, (top, left), dilation, groups)
        y = arithmetic.activate(y, self.activation)
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
    return x.device.type == "cpu" and x.dtype == torch.float32 and not x.requires_grad and not forced() and _there()


@functools.cache
def _there() -> bool:
    """Whether the operators, which are private to torch, are there and right."""
    try:
        layer = FusedLayer(4, 4, kernel_size=3, activation="relu6")
        generator = torch.Generator().manual_seed(0)
        layer.weight.normal_(generator=generator)
        x = torch.randn(2, 4, 5, 6, generator=generator).contiguous(memory_format=torch.channels_last)
        one, added = layer._bind((5, 6), None, None, None, "none")(x), FusedLayer(4, 4, kernel_size=3)
        added.weight = layer.weight
        two = added._bind((5, 6), None, None, True, "relu")(x, x.clone(memory_format=torch.channels_last))
        expected = F.conv2d(x, layer.weight, padding=1)
        return torch.allclose(one, F.relu6(expected), atol=1e-5) and torch.allclose(
            two, F.relu(expected + x), atol=1e-5
        )
    except (AttributeError, RuntimeError, NotImplementedError):
        return False
