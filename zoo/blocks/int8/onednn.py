"""oneDNN's int8 operators as PyTorch carries them (`torch.ops.onednn`), with the ways round their traps.

They are private to torch and depend on the processor, so `trusted()` compares them with the reference once a process.
"""

import functools
import warnings

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.blocks.int8 import arithmetic
from zoo.blocks.int8.arithmetic import Edge, Window

# our activation -> (oneDNN's post-op, its scalars)
POST_OPS: dict[str, tuple[str, list[float]]] = {
    "none": ("none", []),
    "relu": ("relu", []),
    "relu6": ("hardtanh", [0.0, 6.0]),
    "hard_swish": ("hardswish", []),
    "swish": ("swish", []),
}
AFTER_ADD = ("none", "relu")  # what may follow the fused add


class PackedConv:
    """One convolution, packed for one image size.

    A source zero point other than 0 would make oneDNN reorder the weights at every call: it is folded into the bias,
    and the border is padded with it beforehand. So is one that is wider behind, which the operators do not know.
    """

    def __init__(
        self,
        weight: Tensor,
        scale: Tensor,
        bias: Tensor,
        *,
        source: Edge,
        window: Window,
        activation: str,
        example: Tensor,
    ) -> None:
        left, right, top, bottom = window.borders(example, weight)
        beforehand = source.zero != 0 or (left, top) != (right, bottom)
        self.border = (left, right, top, bottom) if beforehand else (0, 0, 0, 0)
        self.padding = [0, 0] if beforehand else [top, left]
        self.source = source
        self.scale = scale
        self.bias = bias
        self.rounding = 0.0  # what adding the folded zero point may cost, in real values
        if source.zero:
            fold = source.scale * source.zero * scale * weight.flatten(1).sum(1, dtype=torch.float32)
            self.bias = bias - fold
            self.rounding = float(fold.abs().max()) * 2.0**-22
        self.weight_zeros = torch.zeros(len(scale), dtype=torch.int64)
        self.strides, self.dilations, self.groups = [window.stride] * 2, [window.dilation] * 2, window.groups
        self.post_op, self.scalars = POST_OPS[activation]
        shape = list(self._bordered(example).shape)
        self.weight = torch.ops.onednn.qconv_prepack(
            weight, scale, source.scale, 0, self.strides, self.padding, self.dilations, self.groups, shape
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

    def add(self, x: Tensor, target: Edge, skip: Tensor, skip_edge: Edge, after: str) -> Tensor:
        """The same with `skip` added, and "none" or "relu" `after` it, before rounding; `skip` is overwritten."""
        return self.run_add(
            self._bordered(x), self.source.scale, 0, self.weight, self.scale, self.weight_zeros, skip, self.bias,
            self.strides, self.padding, self.dilations, self.groups, target.scale, target.zero, torch.uint8,
            skip_edge.scale, skip_edge.zero, "sum", 1.0, after, [], "",
        )  # fmt: skip

    def _bordered(self, x: Tensor) -> Tensor:
        if not any(self.border):
            return x
        padded = F.pad(x, self.border, value=self.source.zero)
        return padded.contiguous(memory_format=torch.channels_last)


class PackedLinear:
    """A matrix product, packed once for every batch; also a 1x1 convolution, on the channels_last view."""

    def __init__(self, weight: Tensor, scale: Tensor, bias: Tensor, *, source: Edge, activation: str) -> None:
        self.source, self.scale, self.bias = source, scale, bias
        self.weight = torch.ops.onednn.qlinear_prepack(weight.flatten(1).contiguous(), None)
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

    Without VNNI, products of uint8 and int8 can saturate in 16 bits, silently. Every post-op, the fused add, zero
    points, strides, paddings, dense and depthwise windows and float outputs are tried, in some ten milliseconds.
    Warns where they are not.
    """
    agree = _all_agree()
    if not agree:
        warnings.warn(
            "int8 models run their float reference here, slower than float32: torch's integer operators are missing "
            "on this host, or wrong, as on x86 without VNNI.",
            RuntimeWarning,
            stacklevel=2,
        )
    return agree


def _all_agree() -> bool:
    try:
        steps = ((1, "symmetric"), (2, "symmetric"), (2, "same"))
        windows = [Window(stride, 1, groups, padding) for groups in (1, 32) for stride, padding in steps]
        places = all(_trial("none", zero, window) for zero in (0, 128) for window in windows)
        post_ops = all(_trial(activation, 0, Window()) and _linear_trial(activation) for activation in POST_OPS)
        return places and post_ops
    except (AttributeError, RuntimeError, NotImplementedError):
        return False


def _trial(activation: str, zero: int, window: Window) -> bool:
    x, weight, scale, bias = _extremes((32, 32 // window.groups, 3, 3))
    source, skip_edge = Edge(0.05, zero), Edge(0.3, 100)
    target = Edge(30.0 if window.groups == 1 else 4.0, 128)
    pack = PackedConv(weight, scale, bias, source=source, window=window, activation=activation, example=x)
    before = arithmetic.convolve(x, source, weight, scale, bias, window)
    expected = arithmetic.activate(before, activation)
    agree = _agree(pack(x, target), arithmetic.quantize(expected, target))
    agree &= torch.allclose(pack(x, None), expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))
    if activation == "none" and window.stride == 1:
        added = expected + arithmetic.dequantize(x, skip_edge)
        for after in AFTER_ADD:
            codes = arithmetic.quantize(arithmetic.activate(added, after), target)
            agree &= _agree(pack.add(x, target, x.clone(), skip_edge, after), codes)
    return bool(agree)


def _linear_trial(activation: str) -> bool:
    x, weight, scale, bias = _extremes((32, 32))
    source, target = Edge(0.05, 128), Edge(4.0, 128)
    rows = x.permute(0, 2, 3, 1)
    pack = PackedLinear(weight, scale, bias, source=source, activation=activation)
    expected = arithmetic.activate(arithmetic.multiply(rows, source, weight, scale, bias), activation)
    return _agree(pack(rows, target), arithmetic.quantize(expected, target))


def _extremes(shape: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Codes, weights, scales and biases that would show saturation."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (2, 32, 7, 8), dtype=torch.uint8, generator=generator)
    x[0] = 255
    weight = torch.randint(-127, 128, shape, generator=generator).to(torch.int8)
    weight[0], weight[1] = 127, -127
    x = x.contiguous(memory_format=torch.channels_last)
    return x, weight, torch.full((32,), 0.02), torch.linspace(-5, 5, 32)


def _agree(codes: Tensor, expected: Tensor) -> bool:
    return codes.shape == expected.shape and int((codes.int() - expected.int()).abs().max()) <= 1
