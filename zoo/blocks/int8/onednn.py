"""oneDNN's int8 operators as PyTorch carries them (`torch.ops.onednn`), with the ways round their traps.

They are private to torch and depend on the processor, so `trusted()` compares them with the reference once a process.
"""

import functools

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.blocks.int8 import arithmetic
from zoo.blocks.int8.arithmetic import Edge

# our activation -> (oneDNN's post-op, its scalars)
POST_OPS: dict[str, tuple[str, list[float]]] = {
    "none": ("none", []),
    "relu": ("relu", []),
    "relu6": ("hardtanh", [0.0, 6.0]),
    "hard_swish": ("hardswish", []),
    "swish": ("swish", []),
}


class PackedConv:
    """One convolution, packed for one image size.

    A source zero point other than 0 would make oneDNN reorder the weights at every call: it is folded into the bias,
    and the border is padded with it beforehand.
    """

    def __init__(
        self,
        weight: Tensor,
        scale: Tensor,
        bias: Tensor,
        *,
        source: Edge,
        stride: int,
        dilation: int,
        groups: int,
        activation: str,
        shape: tuple[int, ...],
    ) -> None:
        padding = dilation * (weight.shape[-1] - 1) // 2
        self.border = padding if source.zero and padding else 0
        self.source = source
        self.scale = scale
        self.bias = bias
        if source.zero:
            self.bias = bias - source.scale * source.zero * scale * weight.flatten(1).sum(1, dtype=torch.float32)
        self.weight_zeros = torch.zeros(len(scale), dtype=torch.int64)
        self.strides, self.dilations, self.groups = [stride] * 2, [dilation] * 2, groups
        self.padding = [padding - self.border] * 2
        self.post_op, self.scalars = POST_OPS[activation]
        batch, channels, height, width = shape
        padded = [batch, channels, height + 2 * self.border, width + 2 * self.border]
        self.weight = torch.ops.onednn.qconv_prepack(
            weight, scale, source.scale, 0, self.strides, self.padding, self.dilations, groups, padded
        )
        self.run = torch.ops.onednn.qconv2d_pointwise.default
        self.run_add = torch.ops.onednn.qconv2d_pointwise.binary

    def __call__(self, x: Tensor, target: Edge | None) -> Tensor:
        """(B, C, H, W) codes to codes of `target`, or to floats where it is None."""
        scale, zero, dtype = (1.0, 0, torch.float32) if target is None else (*target, torch.uint8)
        return self.run(
            self._bordered(x), self.source.scale, 0, self.weight, self.scale, self.weight_zeros, self.bias,
            self.strides, self.padding, self.dilations, self.groups, scale, zero, dtype, self.post_op, self.scalars, "",
        )  # fmt: skip

    def add(self, x: Tensor, target: Edge, skip: Tensor, skip_edge: Edge) -> Tensor:
        """The same with `skip` added before rounding; `skip` is overwritten."""
        return self.run_add(
            self._bordered(x), self.source.scale, 0, self.weight, self.scale, self.weight_zeros, skip, self.bias,
            self.strides, self.padding, self.dilations, self.groups, target.scale, target.zero, torch.uint8,
            skip_edge.scale, skip_edge.zero, "sum", 1.0, "none", [], "",
        )  # fmt: skip

    def _bordered(self, x: Tensor) -> Tensor:
        if not self.border:
            return x
        padded = F.pad(x, [self.border] * 4, value=self.source.zero)
        return padded.contiguous(memory_format=torch.channels_last)


class PackedLinear:
    """A matrix product, packed once for every batch; also a 1x1 convolution, on the channels_last view."""

    def __init__(self, weight: Tensor, scale: Tensor, bias: Tensor, *, source: Edge, activation: str) -> None:
        self.source, self.scale, self.bias = source, scale, bias
        self.weight = torch.ops.onednn.qlinear_prepack(weight.flatten(1), None)
        self.weight_zeros = torch.zeros(len(scale), dtype=torch.int64)
        self.post_op, self.scalars = POST_OPS[activation]
        self.run = torch.ops.onednn.qlinear_pointwise.default

    def __call__(self, x: Tensor, target: Edge | None) -> Tensor:
        """(..., C) codes to (..., O) codes of `target`, or floats where it is None."""
        scale, zero, dtype = (1.0, 0, torch.float32) if target is None else (*target, torch.uint8)
        return self.run(
            x, self.source.scale, self.source.zero, self.weight, self.scale, self.weight_zeros, self.bias,
            scale, zero, dtype, self.post_op, self.scalars, "",
        )  # fmt: skip

    def on_map(self, x: Tensor, target: Edge | None) -> Tensor:
        """(B, C, H, W) channels_last to (B, O, H, W) channels_last."""
        return self(x.permute(0, 2, 3, 1), target).permute(0, 3, 1, 2)


@functools.cache
def trusted() -> bool:
    """Whether the operators are there and agree with the reference on this host, extreme values included.

    Without VNNI, products of uint8 and int8 can saturate in 16 bits, silently.
    """
    try:
        generator = torch.Generator().manual_seed(0)
        x = torch.randint(0, 256, (2, 32, 9, 9), dtype=torch.uint8, generator=generator)
        x[0] = 255
        x = x.contiguous(memory_format=torch.channels_last)
        source, target = Edge(0.05, 0), Edge(90.0, 128)
        for groups in (1, 32):
            weight = torch.randint(-127, 128, (32, 32 // groups, 3, 3), generator=generator).to(torch.int8)
            weight[0], weight[1] = 127, -127
            scale, bias = torch.full((32,), 0.02), torch.linspace(-5, 5, 32)
            pack = PackedConv(
                weight,
                scale,
                bias,
                source=source,
                stride=1,
                dilation=1,
                groups=groups,
                activation="none",
                shape=x.shape,
            )
            expected = arithmetic.convolve(x, source, weight, scale, bias, stride=1, dilation=1, groups=groups)
            edge = target if groups == 1 else Edge(4.0, 128)
            if not _agree(pack(x, edge), arithmetic.quantize(expected, edge)):
                return False
        weight, rows = weight.expand(32, 32, 3, 3).flatten(1)[:, :32].contiguous(), x.permute(0, 2, 3, 1)
        linear = PackedLinear(weight, scale, bias, source=source, activation="none")
        expected = arithmetic.multiply(rows, source, weight, scale, bias)
        return _agree(linear(rows, Edge(4.0, 128)), arithmetic.quantize(expected, Edge(4.0, 128)))
    except (AttributeError, RuntimeError, NotImplementedError):
        return False


def _agree(codes: Tensor, expected: Tensor) -> bool:
    return codes.shape == expected.shape and int((codes.int() - expected.int()).abs().max()) <= 1
