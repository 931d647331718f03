"""oneDNN's int8 operators as PyTorch carries them (`torch.ops.onednn`), with the ways round their traps.

They are private to torch and depend on the processor, so `widest_weight()` compares them with the reference once.
"""

import functools
import warnings
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.engine import arithmetic
from zoo.engine.arithmetic import QParams, Window

# our activation -> (oneDNN's post-op, its scalars)
POST_OPS: dict[str, tuple[str, list[float]]] = {
    "none": ("none", []),
    "relu": ("relu", []),
    "relu6": ("hardtanh", [0.0, 6.0]),
    "hard_swish": ("hardswish", []),
    "swish": ("swish", []),
}
GELUS = {"gelu": "none", "gelu_tanh": "tanh"}  # what only linear layers have behind them -> the form it takes there
AFTER_ADD = ("none", "relu")  # what may follow the fused add

WHOLE, REDUCED = 127, 63  # the widest weights of 8 and of 7 bits


Call = Callable[[Tensor], Tensor]


class PackedConv:
    """One convolution, packed for one image size; `function` and `adding` give it as a function.

    A source zero point other than 0 would make oneDNN reorder the weights at every call: it is folded into the bias,
    and the border is padded with it beforehand. So is one that is wider behind, which the operators do not know.
    With AMX, dense convolutions of a stride to a result one column wide are wrong: such a map gets a second column,
    and loses it again.
    """

    def __init__(
        self, weight: Tensor, scale: Tensor, bias: Tensor, *, source: QParams, window: Window, size: Sequence[int]
    ) -> None:
        left, right, top, bottom = window.borders(size, weight.shape[-1])
        kernel = window.dilation * (weight.shape[-1] - 1) + 1
        columns = (size[1] + left + right - kernel) // window.stride + 1
        self.widened = columns == 1 and window.stride > 1
        right += window.stride if self.widened else 0
        beforehand = source.zero_point != 0 or (left, top) != (right, bottom)
        self.border = (left, right, top, bottom) if beforehand else (0, 0, 0, 0)
        self.source = source
        self.rounding = 0.0  # what adding the folded zero point may cost, in real values
        if source.zero_point:
            fold = source.scale * source.zero_point * scale * weight.flatten(1).sum(1, dtype=torch.float32)
            bias = bias - fold
            self.rounding = float(fold.abs().max()) * 2.0**-22
        padding = [0, 0] if beforehand else [top, left]
        moves = ([window.stride] * 2, padding, [window.dilation] * 2, window.groups)
        height, width = size[0] + sum(self.border[2:]), size[1] + sum(self.border[:2])
        shape = [1, weight.shape[1] * window.groups, height, width]
        packed = torch.ops.onednn.qconv_prepack(weight, scale, source.scale, 0, *moves, shape)
        self.weights = (packed, scale, torch.zeros(len(scale), dtype=torch.int64, device=scale.device))
        self.bias, self.moves = bias, moves

    def function(self, target: QParams | None, activation: str) -> Call:
        """(B, C, H, W) codes to codes of `target`, or to floats where it is None."""
        run = torch.ops.onednn.qconv2d_pointwise.default
        x_scale, (weight, scale, zeros), bias = self.source.scale, self.weights, self.bias
        stride, padding, dilation, groups = self.moves
        y_scale, y_zero, dtype = _written(target)
        post_op, scalars = POST_OPS[activation]

        def call(x: Tensor) -> Tensor:
            return run(
                x, x_scale, 0, weight, scale, zeros, bias, stride, padding, dilation, groups,
                y_scale, y_zero, dtype, post_op, scalars, "",
            )  # fmt: skip

        return self._bordered(call)

    def adding(self, target: QParams, skip_qparams: QParams, after: str) -> Callable[[Tensor, Tensor], Tensor]:
        """The same with a `skip` added, and "none" or "relu" `after` it, before rounding; `skip` is overwritten."""
        run = torch.ops.onednn.qconv2d_pointwise.binary
        x_scale, (weight, scale, zeros), bias = self.source.scale, self.weights, self.bias
        stride, padding, dilation, groups = self.moves
        (y_scale, y_zero), (skip_scale, skip_zero) = target, skip_qparams

        def call(x: Tensor, skip: Tensor) -> Tensor:
            return run(
                x, x_scale, 0, weight, scale, zeros, skip, bias, stride, padding, dilation, groups,
                y_scale, y_zero, torch.uint8, skip_scale, skip_zero, "sum", 1.0, after, [], "",
            )  # fmt: skip

        return self._bordered(call)

    def _bordered(self, call: Callable[..., Tensor]) -> Callable[..., Tensor]:
        if not any(self.border):
            return call
        border, zero = self.border, self.source.zero_point

        def padded(x: Tensor, *skip: Tensor) -> Tensor:
            wider = F.pad(x, border, value=zero).contiguous(memory_format=torch.channels_last)
            return call(wider, *skip)

        def narrowed(x: Tensor, *skip: Tensor) -> Tensor:
            both = (F.pad(one, (0, 1)).contiguous(memory_format=torch.channels_last) for one in skip)
            return padded(x, *both)[..., :1].contiguous(memory_format=torch.channels_last)

        return narrowed if self.widened else padded


def linear(
    weight: Tensor,
    scale: Tensor,
    bias: Tensor,
    source: QParams,
    target: QParams | None,
    activation: str,
    *,
    on_map: bool = False,
) -> Call:
    """A matrix product, packed once for every batch: (..., C) codes to (..., O) codes, or floats where no `target`.

    `on_map` takes and gives channels_last maps (B, C, H, W): it is then a 1x1 convolution of any image size.
    """
    run = torch.ops.onednn.qlinear_pointwise.default
    packed = torch.ops.onednn.qlinear_prepack(weight.flatten(1).contiguous(), None)
    zeros = torch.zeros(len(scale), dtype=torch.int64, device=scale.device)
    added = bias if bool(bias.any()) else None  # zeros would take up to a half of the product's time
    x_scale, x_zero = source
    y_scale, y_zero, dtype = _written(target)
    form = GELUS.get(activation, "")
    post_op, scalars = ("gelu", []) if form else POST_OPS[activation]

    def product(x: Tensor) -> Tensor:
        return run(x, x_scale, x_zero, packed, scale, zeros, added, y_scale, y_zero, dtype, post_op, scalars, form)

    def convolution(x: Tensor) -> Tensor:
        x = x.permute(0, 2, 3, 1)
        y = run(x, x_scale, x_zero, packed, scale, zeros, added, y_scale, y_zero, dtype, post_op, scalars, form)
        return y.permute(0, 3, 1, 2)

    return convolution if on_map else product


def linear_by_convolution(
    weight: Tensor, scale: Tensor, bias: Tensor, source: QParams, target: QParams | None, activation: str
) -> Call:
    """`linear` for (N, C) codes as a 1x1 convolution of an image one pixel wide, which no height reorders."""
    packed = PackedConv(weight[:, :, None, None], scale, bias, source=source, window=Window(), size=(1, 1))
    call = packed.function(target, activation)

    def product(x: Tensor) -> Tensor:
        return call(x.T[None, :, :, None]).permute(0, 2, 3, 1).flatten(0, 2)

    return product


def _written(target: QParams | None) -> tuple[float, int, torch.dtype]:
    return (1.0, 0, torch.float32) if target is None else (*target, torch.uint8)


def trusted() -> bool:
    """Whether the operators are there and agree with the reference on this host for any int8 weights."""
    return widest_weight() == WHOLE


@functools.cache
def widest_weight(depthwise: bool = False) -> int:
    """The largest weight, 127, 63 or 0, up to which the operators agree with the reference on this host.

    Without VNNI, sums of two products of uint8 and int8 saturate in 16 bits, silently; weights of 7 bits never do. The
    operators are private to torch, too. Every post-op, the fused add, zero points, strides, paddings, dense and
    depthwise windows and float outputs are tried on extreme values, once a process, in some ten milliseconds.
    """
    return next((widest for widest in (WHOLE, REDUCED) if _all_agree(widest, depthwise)), 0)


@functools.cache
def warn_of_reference() -> None:
    """Say, once a process, that int8 is slow here, and what to do."""
    reduced = ', or zoo.compress(..., "int8", reduce_range=True) for integer arithmetic on this processor'
    warnings.warn(
        "int8 models run in floats here, at best as fast as float32: torch's integer operators are missing on this "
        'host, or wrong, as on x86 without VNNI. Use zoo.create(..., runtime="auto"), the fastest runtime installed '
        f"(`zoo info NAME` says which to install){reduced if widest_weight() else ''}.",
        RuntimeWarning,
        stacklevel=2,
    )


@arithmetic.undisturbed()
def _all_agree(widest: int, depthwise: bool = False) -> bool:
    try:
        steps = ((1, "symmetric"), (2, "symmetric"), (2, "same"))
        windows = [Window(stride, 1, 32 if depthwise else 1, padding) for stride, padding in steps]
        if not all(_trial("none", zero, window, widest) for zero in (0, 128) for window in windows):
            return False
        if not all(_trial("none", 0, window, widest, columns=1) for window in windows):
            return False
        plain = Window(1, 1, 32 if depthwise else 1)
        return all(
            _trial(activation, 0, plain, widest) and (depthwise or _linear_trial(activation, widest))
            for activation in POST_OPS
        )
    except (AttributeError, RuntimeError, NotImplementedError):
        return False


def _trial(activation: str, zero: int, window: Window, widest: int, columns: int = 8) -> bool:
    x, weight, scale, bias = _extremes((32, 32 // window.groups, 3, 3), widest)
    x = x.reshape(2, 32, -1, columns).contiguous(memory_format=torch.channels_last)
    source, skip_qparams = QParams(0.05, zero), QParams(0.3, 100)
    target = QParams(30.0 if window.groups == 1 else 4.0, 128)
    packed = PackedConv(weight, scale, bias, source=source, window=window, size=x.shape[2:])
    before = arithmetic.convolve(x, source, weight, scale, bias, window)
    expected = arithmetic.activate(before, activation)
    agree = _agree(packed.function(target, activation)(x), arithmetic.quantize(expected, target))
    floats = packed.function(None, activation)(x)
    agree &= torch.allclose(floats, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))
    if activation == "none" and window.stride == 1:
        added = expected + arithmetic.dequantize(x, skip_qparams)
        for after in AFTER_ADD:
            codes = arithmetic.quantize(arithmetic.activate(added, after), target)
            agree &= _agree(packed.adding(target, skip_qparams, after)(x, x.clone()), codes)
    return bool(agree)


@functools.cache
@arithmetic.undisturbed()
def has_post_op(activation: str) -> bool:
    """Whether an activation can follow a matrix product here, rightly."""
    if activation not in GELUS:
        return activation in POST_OPS
    try:
        return widest_weight() > 0 and _linear_trial(activation, widest_weight())
    except (AttributeError, RuntimeError, NotImplementedError):
        return False


def _linear_trial(activation: str, widest: int) -> bool:
    x, weight, scale, bias = _extremes((32, 32), widest)
    source, target = QParams(0.05, 128), QParams(4.0, 128)
    rows = x.permute(0, 2, 3, 1)
    call = linear(weight, scale, bias, source, target, activation)
    expected = arithmetic.activate(arithmetic.multiply(rows, source, weight, scale, bias), activation)
    return _agree(call(rows), arithmetic.quantize(expected, target))


def _extremes(shape: tuple[int, ...], widest: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Codes, weights, scales and biases that would show saturation."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (2, 32, 7, 8), dtype=torch.uint8, generator=generator)
    x[0] = 255
    weight = torch.randint(-widest, widest + 1, shape, generator=generator).to(torch.int8)
    weight[0], weight[1] = widest, -widest
    x = x.contiguous(memory_format=torch.channels_last)
    return x, weight, torch.full((32,), 0.02, dtype=torch.float32), torch.linspace(-5, 5, 32, dtype=torch.float32)


def _agree(codes: Tensor, expected: Tensor) -> bool:
    return codes.shape == expected.shape and int((codes.int() - expected.int()).abs().max()) <= 1
