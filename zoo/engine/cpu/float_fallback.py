"""int8 convolutions in floats at the speed of floats, for weights that this host's integer operators cannot take.

The scales go into the weights, and the activation into oneDNN's packed convolution; codes become floats and floats
codes around it. The sums are rounded, so a code may differ from the reference's by one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from zoo.engine import arithmetic
from zoo.engine.arithmetic import QParams, Size, Window
from zoo.engine.cpu import packed
from zoo.engine.cpu.codes import whole_codes


def function(
    weight: Tensor,
    scale: Tensor,
    bias: Tensor,
    *,
    window: Window,
    size: Size,
    source: QParams,
    target: QParams | None,
    activation: str,
    skip_qparams: QParams | None,
    after: str,
) -> Callable[..., Tensor]:
    """(B, C, H, W) codes for maps of `size`, and a `skip` where it has an edge, to codes, or floats for no target."""
    real = weight.float() * (source.scale * scale).view(-1, 1, 1, 1)
    convolve = packed.convolution(real, bias, window=window, size=size, activation=activation)
    zero = source.zero_point

    def call(x: Tensor, *skip: Any) -> Tensor:
        values = x.float()
        y = convolve(values.sub_(zero) if zero else values)
        if skip_qparams is not None:
            y = arithmetic.activate(y.add_(arithmetic.dequantize(skip[0], skip_qparams)), after)
        return y if target is None else whole_codes(y, target)

    return call
