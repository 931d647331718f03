"""The int8 leaf: one convolution or linear layer with integer weights, and what all int8 modules share."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
import torch.nn as nn
from torch import Tensor

from zoo.blocks.int8 import arithmetic, onednn
from zoo.blocks.int8.arithmetic import Edge, Window

MAX_PACKS = 8  # image sizes kept ready a layer

_forced_reference: ContextVar[bool] = ContextVar("forced_reference", default=False)


@contextmanager
def reference_execution() -> Iterator[None]:
    """While open, int8 modules of this thread compute in plain float operators: slow, exact, exportable."""
    token = _forced_reference.set(True)
    try:
        yield
    finally:
        _forced_reference.reset(token)


def runs_fast(device: torch.device) -> bool:
    """Whether int8 modules on `device` use oneDNN's integer operators now."""
    return not _forced_reference.get() and device.type == "cpu" and onednn.trusted()


class Int8Module(nn.Module):
    """Tensors keep their dtypes under `.half()` and `.to(dtype)`; what is derived from them is dropped on a change.

    Loading and moving are noticed; whoever writes into a tensor in place calls `forget()` afterwards.
    """

    def forget(self) -> None:
        """Drop what was derived from the tensors; it is made again when needed."""

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Int8Module":
        def keeping_dtype(tensor: Tensor) -> Tensor:
            out = fn(tensor)
            return out if out.dtype == tensor.dtype else tensor.to(out.device)

        self.forget()
        return super()._apply(keeping_dtype, recurse)

    def _load_from_state_dict(self, *args: Any) -> None:
        super()._load_from_state_dict(*args)
        self.forget()

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        state.update(self._underived())
        return state

    def _underived(self) -> dict[str, Any]:
        return {}


class Int8Layer(Int8Module):
    """Integer weights (O, C / groups, k, k) or (O, C) with their scales and float biases.

    Codes come in, codes or floats go out; the edges between layers belong to the row.
    """

    weight: Tensor
    scale: Tensor
    bias: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel_size: int = 1,
        stride: int = 1,
        dilation: int = 1,
        padding: str = "symmetric",
        depthwise: bool = False,
        linear: bool = False,
        activation: str = "none",
    ) -> None:
        super().__init__()
        window = () if linear else (kernel_size, kernel_size)
        shape = (out_channels, 1 if depthwise else in_channels, *window)
        self._hold(shape)
        self.window = Window(stride, dilation, in_channels if depthwise else 1, padding)
        self.activation = activation
        self.linear = linear
        self.pointwise = not linear and kernel_size == 1 and stride == 1 and not depthwise
        self.forget()

    def _hold(self, shape: tuple[int, ...]) -> None:
        """Make the layer's tensors, for weights of `shape`."""
        self.register_buffer("weight", torch.zeros(shape, dtype=torch.int8))
        self.register_buffer("scale", torch.ones(shape[0], dtype=torch.float32))
        self.register_buffer("bias", torch.zeros(shape[0], dtype=torch.float32))

    def forget(self) -> None:
        self._packs: dict[tuple[int, int, Edge, bool], Any] = {}
        self._real: tuple[Tensor, Tensor] | None = None

    def _underived(self) -> dict[str, Any]:
        return {"_packs": {}, "_real": None}

    def extra_repr(self) -> str:
        return f"{tuple(self.weight.shape)}, {self.window}, activation={self.activation}"

    def forward(
        self,
        x: Tensor,
        source: Edge,
        target: Edge | None,
        skip: Tensor | None = None,
        skip_edge: Edge | None = None,
        after: str = "none",
    ) -> Tensor:
        """Codes `x` on `source` to codes on `target` (floats where None).

        `skip` codes are added before rounding, and the activation called `after` follows that sum.
        """
        if not runs_fast(x.device) or not x.numel():
            return self._reference(x, source, target, skip, skip_edge, after)
        if skip is not None and (self.activation != "none" or after not in onednn.AFTER_ADD):
            # The operators know no activation between the convolution and the sum, and few behind the sum.
            assert target is not None and skip_edge is not None
            y = self(x, source, None) + arithmetic.dequantize(skip, skip_edge)
            return arithmetic.quantize(arithmetic.activate(y, after), target)
        if self.linear:
            return self._pack(x, source, True)(x, target)
        if self.pointwise and skip is None:
            return self._pack(x, source, True).on_map(x, target)
        pack = self._pack(x, source, False)
        if target is not None and pack.rounding > target.scale / 4:
            return self._reference(x, source, target, skip, skip_edge, after)
        if skip is None:
            return pack(x, target)
        return pack.add(x, target, _owned(skip), skip_edge, after)

    def on_vector(self, x: Tensor, factor: float = 1.0) -> Tensor:
        """(B, C) floats, times `factor`, to (B, O) floats by the integer weights: the same in both executions.

        For one position oneDNN's set-up, and the codes of what comes in, would take longer than the product. That sums
        in float64, so that a picture's answer does not depend on how many others are in the batch; Apple's GPUs have
        none.
        """
        if self._real is None:
            wide = torch.float32 if x.device.type == "mps" else torch.float64
            with torch.inference_mode(False), torch.no_grad():
                weight = (self.weight.flatten(1).to(wide) * self.scale.to(wide)[:, None]).T.contiguous()
                self._real = (weight, self.bias.to(wide))
        weight, bias = self._real
        return arithmetic.activate(torch.addmm(bias, x.to(weight.dtype), weight, alpha=factor).float(), self.activation)

    def _pack(self, x: Tensor, source: Edge, as_linear: bool) -> Any:
        # A convolution packed for another image size is reordered at every call, up to 400 times slower.
        size = (0, 0) if as_linear else (x.shape[2], x.shape[3])
        key = (*size, source, as_linear)
        pack = self._packs.get(key)
        if pack is None:
            with torch.inference_mode(False), torch.no_grad():
                pack = self._make_pack(x, source, as_linear)
            if len(self._packs) >= MAX_PACKS:
                self._packs.pop(next(iter(self._packs)), None)
            self._packs[key] = pack
        return pack

    def _make_pack(self, x: Tensor, source: Edge, as_linear: bool) -> Any:
        if as_linear:
            return onednn.PackedLinear(self.weight, self.scale, self.bias, source=source, activation=self.activation)
        return onednn.PackedConv(
            self.weight,
            self.scale,
            self.bias,
            source=source,
            window=self.window,
            activation=self.activation,
            example=x,
        )

    def _reference(
        self, x: Tensor, source: Edge, target: Edge | None, skip: Tensor | None, skip_edge: Edge | None, after: str
    ) -> Tensor:
        if self.linear:
            y = arithmetic.multiply(x, source, self.weight, self.scale, self.bias)
        else:
            y = arithmetic.convolve(x, source, self.weight, self.scale, self.bias, self.window)
        y = arithmetic.activate(y, self.activation)
        if skip is not None:
            assert skip_edge is not None
            y = arithmetic.activate(y + arithmetic.dequantize(skip, skip_edge), after)
        return y if target is None else arithmetic.quantize(y, target)


def _owned(skip: Tensor) -> Tensor:
    """A copy for the fused add to overwrite: whoever else reads the row's input keeps it."""
    return skip.clone(memory_format=torch.channels_last)
