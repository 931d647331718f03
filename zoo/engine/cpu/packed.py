"""float32 convolutions with weights packed for oneDNN, and what follows fused: private operators of torch."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.engine.arithmetic import Size, Window, undisturbed
from zoo.engine.cpu.onednn import POST_OPS

MAX_BATCHES = 64  # remembered; their weights are few


def convolution(
    weight: Tensor, bias: Tensor, *, window: Window, size: Size, activation: str = "none", adds: bool = False
) -> Callable[..., Tensor]:
    """For channels_last maps of `size`, a function of `x`, or where it `adds` of `x` and a skip.

    The activation comes last.
    """
    left, right, top, bottom = window.borders(size, weight.shape[-1])
    uneven = (left, top) != (right, bottom)
    border = (left, right, top, bottom) if uneven else (0, 0, 0, 0)
    padding = [0, 0] if uneven else [top, left]
    stride, dilation, groups = [window.stride] * 2, [window.dilation] * 2, window.groups
    shape = [weight.shape[1] * groups, size[0] + sum(border[2:]), size[1] + sum(border[:2])]
    packed = PackedWeight(weight, padding, stride, dilation, groups, shape)
    post_op, scalars = POST_OPS[activation]
    if not adds:
        run = torch.ops.mkldnn._convolution_pointwise.default

        def call(x: Tensor) -> Tensor:
            x = F.pad(x, border) if uneven else x
            return run(x, packed.of(x.shape[0]), bias, padding, stride, dilation, groups, post_op, scalars, "")

        return call
    add, unary = torch.ops.mkldnn._convolution_pointwise.binary, None if post_op == "none" else post_op

    def call_add(x: Tensor, skip: Tensor) -> Tensor:
        x = F.pad(x, border) if uneven else x
        return add(
            x, skip, packed.of(x.shape[0]), bias, padding, stride, dilation, groups, "add", 1.0, unary, scalars, ""
        )

    return call_add


class PackedWeight:
    """A weight in the order that oneDNN wants.

    That depends on the batch, too: one packed for another is reordered at every call, up to 40 times slower. So there
    is one for every order that was needed.
    """

    def __init__(self, weight: Tensor, padding: list[int], *settings: Any) -> None:
        self._settings = (padding, *settings[:-1])
        self._shape: list[int] = settings[-1]
        self._by_order: dict[bytes, Tensor] = {}
        self._by_batch: dict[int, Tensor] = {}
        self._pack(1, weight.contiguous())

    def of(self, batch: int) -> Tensor:
        """The weight for inputs of `batch`."""
        found = self._by_batch.get(batch)
        return self._pack(batch, next(iter(self._by_order.values())).to_dense()) if found is None else found

    def _pack(self, batch: int, weight: Tensor) -> Tensor:
        with torch.inference_mode(False), torch.no_grad():
            packed = torch.ops.mkldnn._reorder_convolution_weight(weight, *self._settings, [batch, *self._shape])
            order = torch.ops.mkldnn._get_mkldnn_serialized_md(packed).numpy().tobytes()
        while len(self._by_batch) >= MAX_BATCHES:
            self._by_batch.pop(next(iter(self._by_batch)), None)
        self._by_batch[batch] = packed = self._by_order.setdefault(order, packed)
        return packed  # type: ignore[no-any-return]


@functools.cache
@undisturbed()
def available() -> bool:
    """Whether torch has the operators here, and they are right."""
    try:
        settings: dict[str, Any] = {"generator": torch.Generator().manual_seed(0), "dtype": torch.float32}
        x = torch.randn(2, 4, 5, 6, **settings).contiguous(memory_format=torch.channels_last)
        weight, bias = torch.randn(4, 4, 3, 3, **settings), torch.randn(4, **settings)
        one = convolution(weight, bias, window=Window(), size=(5, 6), activation="relu6")(x)
        two = convolution(weight, bias, window=Window(), size=(5, 6), activation="relu", adds=True)(x, x)
        expected = F.conv2d(x, weight, bias, padding=1)
        pairs = ((one, F.relu6(expected)), (two, F.relu(expected + x)))
        return all(torch.allclose(found, right, atol=1e-5) for found, right in pairs)
    except (AttributeError, RuntimeError, NotImplementedError):
        return False
