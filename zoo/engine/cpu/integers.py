"""int8 in this processor's integer operators, where they are right; elsewhere in floats."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from zoo.engine import arithmetic
from zoo.engine.arithmetic import QParams, Size
from zoo.engine.cpu import float_fallback, onednn, packed
from zoo.engine.cpu.codes import scaled_codes, whole_codes
from zoo.engine.reference import REFERENCE, Reference, token_scale

if TYPE_CHECKING:
    from zoo.engine.int8.layer import Int8Layer
    from zoo.engine.int8.tokens import TokenLinear

_FEW = 2**18  # products: oneDNN sets up for longer than as many take in floats
_SMALL = 2**15  # weights that are also kept as floats
CENTRE = QParams(1.0, 128)  # of a token's codes, before its own scale


class Processor(Reference):
    """The reference's numbers by oneDNN."""

    quantize = staticmethod(whole_codes)

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
        if not x.numel():
            return REFERENCE.layer(leaf, x, source, target, skip, skip_qparams, after)
        call = function(leaf, x.shape[2:], source, target, skip_qparams, after)
        # The fused add overwrites what it adds to: whoever else reads that keeps it.
        return call(x) if skip is None else call(x, skip.clone(memory_format=torch.channels_last))

    def tokens(self, leaf: TokenLinear, x: Tensor, source: QParams | None, target: QParams | None) -> Tensor:
        if not x.numel():
            return REFERENCE.tokens(leaf, x, source, target)
        x = x.detach().reshape(-1, x.shape[-1])  # codes have no gradients, and scales in place can have none
        call = leaf.remember(("tokens", source, target), lambda: _of_tokens(leaf, source, target))
        if source is not None:
            return call(x if x.dtype == torch.uint8 else whole_codes(x.float(), source))
        x = x.float()
        scale = token_scale(x)
        y = call(scaled_codes(x, scale, CENTRE.zero_point))
        return _activate_(torch.addcmul(leaf.bias, y, scale, out=y), leaf.activation)


PROCESSOR = Processor()


def function(
    leaf: Int8Layer,
    size: Size,
    source: QParams,
    target: QParams | None,
    skip_qparams: QParams | None = None,
    after: str = "none",
) -> Callable[..., Tensor]:
    """The leaf for maps of `size`, as a function of `x`, or of `x` and a `skip`, which it overwrites."""
    # A convolution packed for another image size is reordered at every call, up to 400 times slower.
    key = (None if _is_product(leaf, skip_qparams) else (size[0], size[1]), source, target, skip_qparams, after)
    return leaf.remember(key, lambda: _made(leaf, size, source, target, skip_qparams, after))


def fits(model: nn.Module) -> bool:
    """Whether all int8 weights of the model are narrow enough for this host's integer operators."""
    weights = [getattr(part, "weight", None) for part in model.modules() if hasattr(part, "scale")]
    codes = [weight for weight in weights if isinstance(weight, Tensor) and weight.dtype == torch.int8]
    return all(int(weight.abs().max()) <= onednn.widest_weight() for weight in codes)


def _is_product(leaf: Int8Layer, skip_qparams: QParams | None) -> bool:
    """Whether it runs as a matrix product: with VNNI that has a fifth less set-up, without it takes up to 8 times as
    long."""
    return leaf.linear or (leaf.pointwise and skip_qparams is None and onednn.trusted())


def _made(
    leaf: Int8Layer, size: Size, source: QParams, target: QParams | None, skip_qparams: QParams | None, after: str
) -> Callable[..., Tensor]:
    tensors = (leaf.weight, leaf.scale, leaf.bias)

    def plainly(x: Tensor, skip: Tensor | None = None) -> Tensor:
        return REFERENCE.layer(leaf, x, source, target, skip, skip_qparams, after)

    if int(leaf.weight.abs().max()) > onednn.widest_weight(depthwise=leaf.window.groups > 1):
        onednn.warn_of_reference()
        if leaf.linear or not packed.available():
            return plainly
        return float_fallback.function(
            *tensors,
            window=leaf.window,
            size=size,
            source=source,
            target=target,
            activation=leaf.activation,
            skip_qparams=skip_qparams,
            after=after,
        )
    if skip_qparams is not None and (leaf.activation != "none" or after not in onednn.AFTER_ADD):
        # The operators know no activation between the convolution and the sum, and few behind the sum.
        assert target is not None
        return _added_in_floats(function(leaf, size, source, None), skip_qparams, after, target)
    if _is_product(leaf, skip_qparams):
        if leaf.linear:
            return _product(*tensors, source, target, leaf.activation)
        return onednn.linear(*tensors, source, target, leaf.activation, on_map=True)
    convolution = onednn.PackedConv(*tensors, source=source, window=leaf.window, size=size)
    if target is not None and convolution.rounding > target.scale / 4:
        return plainly
    if skip_qparams is None:
        return convolution.function(target, leaf.activation)
    assert target is not None
    return convolution.adding(target, skip_qparams, after)


def _added_in_floats(
    convolve: Callable[[Tensor], Tensor], skip_qparams: QParams, after: str, target: QParams
) -> Callable[[Tensor, Tensor], Tensor]:
    def call(x: Tensor, skip: Tensor) -> Tensor:
        y = convolve(x) + arithmetic.dequantize(skip, skip_qparams)
        return arithmetic.quantize(arithmetic.activate(y, after), target)

    return call


def _of_tokens(leaf: TokenLinear, source: QParams | None, target: QParams | None) -> Callable[[Tensor], Tensor]:
    """A function of (N, C) codes on `source`, or on a token's own scale where that is None."""
    qparams, activation = (CENTRE, "none") if source is None else (source, leaf.activation)
    bias = torch.zeros_like(leaf.bias) if source is None else leaf.bias
    if int(leaf.weight.abs().max()) > onednn.widest_weight() or not onednn.has_post_op(activation):
        return _in_floats(leaf, qparams, bias, activation, target)
    tensors = (leaf.weight, leaf.scale, bias)
    if onednn.trusted():
        return _product(*tensors, qparams, target, activation)
    # Without VNNI oneDNN's convolutions are quicker than its products, even where the activation is not in them:
    # by a seventh, for one token two or three times.
    if activation in onednn.POST_OPS:
        return onednn.linear_by_convolution(*tensors, qparams, target, activation)
    before = onednn.linear_by_convolution(*tensors, qparams, None, "none")

    def product(codes: Tensor) -> Tensor:
        y = _activate_(before(codes), activation)
        return y if target is None else whole_codes(y, target)

    return product


def _product(
    weight: Tensor, scale: Tensor, bias: Tensor, source: QParams, target: QParams | None, activation: str
) -> Callable[[Tensor], Tensor]:
    """A function of (N, C) codes. A few of a small layer are multiplied in floats, whose sums are as whole."""
    by_integers = onednn.linear(weight, scale, bias, source, target, activation)
    if weight.numel() > _SMALL or weight.shape[1] * 255 * 128 >= 2**24:
        return by_integers
    most, real, by = _FEW // weight.shape[0], weight.float(), source.scale * scale

    def product(codes: Tensor) -> Tensor:
        if codes.numel() > most:
            return by_integers(codes)
        with arithmetic.exact(codes.device):
            y = F.linear(codes.float().sub_(source.zero_point), real)
        y = _activate_(torch.addcmul(bias, y, by), activation)
        return y if target is None else whole_codes(y, target)

    return product


def _in_floats(
    leaf: TokenLinear, qparams: QParams, bias: Tensor, activation: str, target: QParams | None
) -> Callable[[Tensor], Tensor]:
    """For weights that this host's operators cannot take: as quick as float32, and as large."""
    onednn.warn_of_reference()
    real = leaf.weight.float() * (qparams.scale * leaf.scale)[:, None]

    def product(codes: Tensor) -> Tensor:
        y = arithmetic.activate(F.linear(codes.float().sub_(qparams.zero_point), real, bias), activation)
        return y if target is None else whole_codes(y, target)

    return product


def _activate_(x: Tensor, activation: str) -> Tensor:
    """`arithmetic.activate`, in place where it is a GELU: memory for a second `x` costs more than itself."""
    form = onednn.GELUS.get(activation)
    return arithmetic.activate(x, activation) if form is None else torch.ops.aten.gelu_(x, approximate=form)  # type: ignore[no-any-return]
