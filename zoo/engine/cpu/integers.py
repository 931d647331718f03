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
from zoo.engine.cpu import few_tokens, float_fallback, onednn, packed
from zoo.engine.cpu.codes import scaled_codes, whole_codes
from zoo.engine.cpu.few_tokens import Few
from zoo.engine.reference import REFERENCE, Reference

if TYPE_CHECKING:
    from zoo.engine.int8.layer import Int8Layer
    from zoo.engine.int8.tokens import TokenLinear

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
        return call(x if x.dtype in (torch.uint8, torch.float32) else x.float())


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
    """A function of (N, C) float32, or of codes on `source`; where that is None, each token gets its own scale."""
    if source is not None:
        return _on_edge(leaf, leaf.bias, source, target, leaf.activation)
    # Scales and biases are not in the product: it would not know the tokens' own scales.
    bias, activation = leaf.bias, leaf.activation
    product = _on_edge(leaf, torch.zeros_like(bias), CENTRE, None, "none")
    few = _few(leaf.weight, leaf.scale, bias, CENTRE, None) if _in_integers(leaf, "none") else None

    def by_token(x: Tensor) -> Tensor:
        scale = torch.linalg.vector_norm(x, torch.inf, 1, True).clamp_min_(1e-12).mul_(1.0 / 127)  # `token_scale`'s
        if few is not None and few.fits(x):
            return _activate_(few.by_token(x, scale), activation)
        y = product(scaled_codes(x, scale, CENTRE.zero_point))
        return _activate_(torch.addcmul(bias, y, scale, out=y), activation)

    return by_token


def _on_edge(
    leaf: TokenLinear, bias: Tensor, source: QParams, target: QParams | None, activation: str
) -> Callable[[Tensor], Tensor]:
    """A function of (N, C) floats or codes on `source`."""
    tensors = (leaf.weight, leaf.scale, bias)
    if _in_integers(leaf, activation):
        return _product(*tensors, source, target, activation)
    multiply = _by_convolution if _in_integers(leaf, activation, reduced=True) else _in_floats
    product = multiply(*tensors, source, target, activation)
    return lambda x: product(x if x.dtype == torch.uint8 else whole_codes(x, source))


def _in_integers(leaf: TokenLinear, activation: str, reduced: bool = False) -> bool:
    """Whether oneDNN's operators take these weights and activation; not `reduced`: weights of 8 bits, as products."""
    narrow = int(leaf.weight.abs().max()) <= onednn.widest_weight()
    return narrow and onednn.has_post_op(activation) and (reduced or onednn.trusted())


def _by_convolution(
    weight: Tensor, scale: Tensor, bias: Tensor, source: QParams, target: QParams | None, activation: str
) -> Callable[[Tensor], Tensor]:
    """Without VNNI oneDNN's convolutions are quicker than its products, even where the activation is not in them: by a
    seventh, for one token two or three times."""
    if activation in onednn.POST_OPS:
        return onednn.linear_by_convolution(weight, scale, bias, source, target, activation)
    before = onednn.linear_by_convolution(weight, scale, bias, source, None, "none")

    def product(codes: Tensor) -> Tensor:
        y = _activate_(before(codes), activation)
        return y if target is None else whole_codes(y, target)

    return product


def _product(
    weight: Tensor, scale: Tensor, bias: Tensor, source: QParams, target: QParams | None, activation: str
) -> Callable[[Tensor], Tensor]:
    """A function of (N, C) floats or codes on `source`."""
    by_integers = onednn.linear(weight, scale, bias, source, target, activation)
    few = _few(weight, scale, bias, source, target)

    def product(x: Tensor) -> Tensor:
        if few is None or not few.fits(x):
            return by_integers(x if x.dtype == torch.uint8 else whole_codes(x, source))
        y = _activate_(few(x), activation)
        return y if target is None else whole_codes(y, target)

    return product


def _few(weight: Tensor, scale: Tensor, bias: Tensor, source: QParams, target: QParams | None) -> Few | None:
    """The same for few vectors, where that is quicker and near enough."""
    found = Few(weight, scale, bias, source) if few_tokens.trusted() else None
    near = found is not None and (target is None or found.rounding <= target.scale / 4)
    return found if near else None


def _in_floats(
    weight: Tensor, scale: Tensor, bias: Tensor, source: QParams, target: QParams | None, activation: str
) -> Callable[[Tensor], Tensor]:
    """For weights that this host's operators cannot take: as quick as float32, and as large."""
    onednn.warn_of_reference()
    real = weight.float() * (source.scale * scale)[:, None]

    def product(codes: Tensor) -> Tensor:
        y = arithmetic.activate(F.linear(codes.float().sub_(source.zero_point), real, bias), activation)
        return y if target is None else whole_codes(y, target)

    return product


def _activate_(x: Tensor, activation: str) -> Tensor:
    """`arithmetic.activate`, in place where it is a GELU: memory for a second `x` costs more than itself."""
    form = onednn.GELUS.get(activation)
    return arithmetic.activate(x, activation) if form is None else torch.ops.aten.gelu_(x, approximate=form)  # type: ignore[no-any-return]
