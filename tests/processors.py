"""Other processors than this host's: oneDNN's int8 operators, as `torch.ops.onednn` has them, in plain arithmetic.

"vnni" has exact products, "avx2" products whose pairs saturate in 16 bits, "other" (ARM, or a torch without oneDNN) no
such operators. Roundings come in oneDNN's order, so that the codes are oneDNN's, bit for bit but for curves (swish,
GELU). What oneDNN refuses is refused. Where the host is of the kind, its own operators run.
"""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.engine import arithmetic, module
from zoo.engine.cpu import onednn

KINDS = ("vnni", "avx2", "other")
SWITCH = "ZOO_TEST_PROCESSOR"  # one of KINDS: every test runs as on that processor
NARROW = 64  # two products of uint8 and weights up to this fit into 16 bits

OWN = torch.ops.onednn  # before anything takes its place
_CURVES = {"hardswish": F.hardswish, "swish": F.silu}


class Packed(NamedTuple):
    """What a prepack gives: nothing but these operators reads it."""

    weight: Tensor
    linear: bool


@contextmanager
def running_as(kind: str) -> Iterator[None]:
    """While open, int8 networks made in it run as on a processor of that kind."""
    before = _running
    _install(kind)
    try:
        yield
    finally:
        _install(before)


def of_host() -> str:
    """The kind of this host's processor."""
    return _KIND_OF_HOST


def emulated() -> bool:
    """Whether tests run as on another kind than the host's, whose speed says nothing."""
    return torch.ops.onednn is not OWN


def operators(kind: str) -> Any:
    """The emulated operators of a kind, whatever the host's own are."""
    return _OPERATORS[kind]


def switch() -> None:
    """Run the whole process as on the processor that `SWITCH` names."""
    kind = os.environ.get(SWITCH, "") or of_host()
    if kind not in KINDS:
        raise ValueError(f"{SWITCH} is one of {', '.join(KINDS)}, not {kind!r}.")
    _install(kind)


def _install(kind: str) -> None:
    global _running
    _running = kind
    torch.ops.onednn = OWN if kind == of_host() else _OPERATORS[kind]
    onednn.widest_weight, onednn.has_post_op = _VERDICTS[kind]
    onednn.warn_of_reference.cache_clear()
    module.changed()


def _made(*, saturating: bool) -> Any:
    def conv_prepack(
        weight: Tensor, w_scales: Tensor, x_scale: float, x_zp: int, stride: Any, padding: Any, dilation: Any,
        groups: int, x_shape: Any = None,
    ) -> Packed:  # fmt: skip
        _need(weight.dtype == torch.int8, f"Weight should have dtype int8 but got {weight.dtype}")
        return Packed(weight.contiguous(), False)

    def conv(
        x: Tensor, x_scale: float, x_zero: int, packed: Packed, scale: Tensor, zeros: Tensor, bias: Tensor | None,
        stride: Any, padding: Any, dilation: Any, groups: int, y_scale: float, y_zero: int, dtype: torch.dtype,
        post_op: str, scalars: Any, algorithm: str,
    ) -> Tensor:  # fmt: skip
        y = convolved(x, x_scale, x_zero, packed, scale, bias, (stride, padding, dilation, groups))
        return _written(_post(y, post_op, scalars, algorithm), y_scale, y_zero, dtype)

    def conv_add(
        x: Tensor, x_scale: float, x_zero: int, packed: Packed, scale: Tensor, zeros: Tensor, skip: Tensor,
        bias: Tensor | None, stride: Any, padding: Any, dilation: Any, groups: int, y_scale: float, y_zero: int,
        dtype: torch.dtype, skip_scale: float, skip_zero: int, binary: str, alpha: float, post_op: str, scalars: Any,
        algorithm: str,
    ) -> Tensor:  # fmt: skip
        last = skip.is_contiguous(memory_format=torch.channels_last)
        _need(binary == "sum" and alpha == 1 and last, "For post op sum, accum tensor must be contiguous.")
        y = convolved(x, x_scale, x_zero, packed, scale, bias, (stride, padding, dilation, groups))
        _need(skip.shape == y.shape and skip.dtype == torch.uint8, "could not create a primitive descriptor")
        y = _fused(skip.float() - skip_zero, _float(skip_scale), y)
        codes = _written(_post(y, post_op, scalars, algorithm), y_scale, y_zero, dtype)
        return skip.copy_(codes).view_as(skip)  # the accumulator's own memory, as there

    def convolved(
        x: Tensor, x_scale: float, x_zero: int, packed: Packed, scale: Tensor, bias: Tensor | None, moves: Any
    ) -> Tensor:
        _need(x.dtype == torch.uint8, "Input tensor should have uint8 (unsigned char) or fp8 data type")
        _need(isinstance(packed, Packed) and not packed.linear, "weight is packed by qconv_prepack")
        _need(scale.dtype == torch.float32, "weight_scales should be with data type Double or float")
        _need(bias is None or len(bias) == len(scale), f"bias should have K elements: {len(scale)}")
        _need(x_zero == 0, "the zoo folds it into the bias")
        of = "depthwise" if moves[-1] > 1 else "convolution"
        y = _scaled(of, _sums(x, packed.weight, moves, saturating).float(), x_scale, scale.view(1, -1, 1, 1))
        y = y if bias is None else y + bias.float().view(1, -1, 1, 1)
        return y.contiguous(memory_format=torch.channels_last)

    def linear_prepack(weight: Tensor, x_shape: Any) -> Packed:
        _need(weight.dtype == torch.int8, "Weight should be of type int8 or float8_e4m3fn")
        return Packed(weight.contiguous(), True)

    def linear(
        x: Tensor, x_scale: float, x_zero: int, packed: Packed, scale: Tensor, zeros: Tensor, bias: Tensor | None,
        y_scale: float, y_zero: int, dtype: torch.dtype, post_op: str, scalars: Any, algorithm: str,
    ) -> Tensor:  # fmt: skip
        _need(x.dtype in (torch.uint8, torch.int8), "qlinear: data type of input should be uint8, int8")
        _need(isinstance(packed, Packed) and packed.linear, "weight is packed by qlinear_prepack")
        _need(scale.dtype == torch.float32, "weight scales should be dtype c10::ScalarType::Float.")
        if bias is not None:
            dtypes = (torch.float32, torch.bfloat16, torch.float16)
            _need(bias.dtype in dtypes, f"itensor_view_from_dense expects float/bfloat16/half tensor, not {bias.dtype}")
        rows = x.reshape(-1, x.shape[-1])
        still = ([1, 1], [0, 0], [1, 1], 1)
        sums = _sums(rows[:, :, None, None], packed.weight[:, :, None, None], still, saturating)[:, :, 0, 0]
        sums = (sums - x_zero * packed.weight.double().sum(1)).float()
        y = _scaled("product", sums, x_scale, scale)
        y = _post(y if bias is None else y + bias.float(), post_op, scalars, algorithm)
        return _written(y, y_scale, y_zero, dtype).view(*x.shape[:-1], y.shape[-1])

    return SimpleNamespace(
        qconv_prepack=conv_prepack,
        qconv2d_pointwise=SimpleNamespace(default=conv, binary=conv_add),
        qlinear_prepack=linear_prepack,
        qlinear_pointwise=SimpleNamespace(default=linear),
    )


def _sums(x: Tensor, weight: Tensor, moves: Any, saturating: bool) -> Tensor:
    """Sums of products; whole numbers in float64."""
    stride, padding, dilation, groups = moves
    wide = int(weight.abs().amax()) > NARROW if weight.numel() else False
    if not (saturating and wide and groups == 1):  # depthwise products are made in 32 bits everywhere
        exact = weight[0].numel() * 255 * 128 < 2**24
        dtype = torch.float32 if exact else torch.float64
        with arithmetic.exact(x.device):
            return F.conv2d(x.to(dtype), weight.to(dtype), None, stride, padding, dilation, groups).double()
    if weight.shape[1] % 2:
        x, weight = F.pad(x, (0, 0, 0, 0, 0, 1)), F.pad(weight, (0, 0, 0, 0, 0, 1))
    size = weight.shape[-1]
    x = F.pad(x, (padding[1], padding[1], padding[0], padding[0])).double()
    total: Any = 0
    for at in itertools.product(range(size), range(size)):
        seen = x[:, :, *map(_seen, at, x.shape[2:], [size] * 2, stride, dilation)].unflatten(1, (-1, 2))
        part = weight[:, :, *at].double().unflatten(1, (-1, 2))
        total = total + torch.einsum("bpthw,opt->bophw", seen, part).clamp_(-(2.0**15), 2.0**15 - 1).sum(2)
    return total


def _seen(at: int, side: int, size: int, stride: int, dilation: int) -> slice:
    """Where one weight of a window falls."""
    first = at * dilation
    return slice(first, side - (size - 1) * dilation + first, stride)


def _post(y: Tensor, post_op: str, scalars: Any, algorithm: str) -> Tensor:
    if post_op == "none":
        return y
    if post_op == "relu":
        return F.relu(y)
    if post_op == "hardtanh":
        return y.clamp(*scalars)
    if post_op == "gelu":
        return F.gelu(y, approximate=algorithm)
    _need(post_op in _CURVES, f"Unsupported post op {post_op}")
    return _CURVES[post_op](y)


def _written(y: Tensor, scale: float, zero: int, dtype: torch.dtype) -> Tensor:
    if dtype == torch.float32:
        _need(scale == 1 and zero == 0, "fp32 output takes no output scale and zero point")
        return y
    _need(dtype == torch.uint8, f"no codes of {dtype}")
    return (y * (1.0 / _float(scale)) + zero).round().clamp(0, 255).to(torch.uint8)


def _scaled(of: str, sums: Tensor, x_scale: float, scale: Tensor) -> Tensor:
    """In the order of the host's own operators: it differs between processors of one kind, and their operators."""
    return sums * _float(x_scale) * scale if _one_by_one(of) else sums * (_float(x_scale) * scale)


@functools.cache
def _one_by_one(of: str) -> bool:
    """Whether an operator multiplies by one scale and then by the other, not by the product of both.

    With AMX, dense convolutions and products differ from depthwise ones.
    """
    if _KIND_OF_HOST == "other":
        return False
    channels, still = 32, ([1, 1], [0, 0], [1, 1])  # enough for the kernels that real layers get
    codes = torch.arange(256, dtype=torch.uint8, device="cpu").view(1, 1, 16, 16).expand(1, channels, 16, 16)
    x = codes.contiguous(memory_format=torch.channels_last)
    scale, zeros = _float(0.013).expand(channels).clone(), torch.zeros(channels, dtype=torch.int64, device="cpu")
    how = (1.0, 0, torch.float32, "none", [], "")
    if of == "product":
        weight = torch.ones(channels, channels, dtype=torch.int8, device="cpu")
        packed = OWN.qlinear_prepack(weight, None)
        rows = x.permute(0, 2, 3, 1)
        own = OWN.qlinear_pointwise.default(rows, 0.1, 0, packed, scale, zeros, None, *how).permute(0, 3, 1, 2)
    else:
        groups = channels if of == "depthwise" else 1
        weight = torch.ones(channels, channels // groups, 1, 1, dtype=torch.int8, device="cpu")
        packed = OWN.qconv_prepack(weight, scale, 0.1, 0, *still, groups, list(x.shape))
        own = OWN.qconv2d_pointwise.default(x, 0.1, 0, packed, scale, zeros, None, *still, groups, *how)
    sums = x.float() * (1 if of == "depthwise" else channels)
    return not torch.equal(own, sums * (_float(0.1) * _float(0.013)))


def _fused(x: Tensor, factor: Tensor, y: Tensor) -> Tensor:
    """x * factor + y, rounded once."""
    return (x.double() * factor.double() + y.double()).float()


def _float(x: float) -> Tensor:
    return torch.tensor(x, dtype=torch.float32, device="cpu")


def _need(right: bool, message: str) -> None:
    if not right:
        raise RuntimeError(message)


class _Missing:
    def __getattr__(self, name: str) -> Callable[..., Any]:
        raise AttributeError(f"'_OpNamespace' 'onednn' object has no attribute {name!r}")


_OPERATORS: dict[str, Any] = {
    "vnni": _made(saturating=False),
    "avx2": _made(saturating=True),
    "other": _Missing(),
}
# What was tried on each kind is tried once.
_TRIALS = (onednn.widest_weight, onednn.has_post_op)
_VERDICTS = {kind: [functools.cache(trial.__wrapped__) for trial in _TRIALS] for kind in KINDS}
_running = _KIND_OF_HOST = {onednn.WHOLE: "vnni", onednn.REDUCED: "avx2"}.get(onednn.widest_weight(), "other")
