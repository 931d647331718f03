"""The int8 leaf: one convolution or linear layer with integer weights, and what all int8 modules share."""

import operator
from collections.abc import Callable
from typing import Any

import torch
import torch.nn as nn
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from zoo.blocks import flat
from zoo.blocks.int8 import arithmetic, onednn, packed, wide
from zoo.blocks.int8.arithmetic import Edge, Size, Window
from zoo.blocks.int8.execution import plain, runs_fast

MAX_PACKS = 8  # kept ready a layer


class Int8Module(nn.Module):
    """Tensors keep their dtypes under `.half()` and `.to(dtype)`; what is derived from them is dropped on a change.

    Loading, moving, assigning and swapping are noticed; whoever writes into a tensor in place calls `forget()`
    afterwards.
    """

    _derived_of: tuple[Tensor | None, ...] = ()

    def forget(self) -> None:
        """Drop what was derived from the tensors; it is made again when needed."""
        self.__dict__["_derived_of"] = ()
        flat.changed()

    def renew(self) -> None:
        """Forget what was derived of tensors that the module has no longer: `functional_call` swaps them unseen."""
        if torch.compiler.is_compiling():  # which swaps in tensors without values
            return
        tensors, known = tuple(self._buffers.values()), self._derived_of
        if known and not all(map(operator.is_, tensors, known)):
            self.forget()
        self.__dict__["_derived_of"] = tensors

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if isinstance(value, (Tensor, nn.Module)):
            self.forget()

    def register_forward_hook(
        self, hook: Any, *, prepend: bool = False, with_kwargs: bool = False, always_call: bool = False
    ) -> RemovableHandle:
        flat.changed()
        return super().register_forward_hook(hook, prepend=prepend, with_kwargs=with_kwargs, always_call=always_call)

    def register_forward_pre_hook(
        self, hook: Any, *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        flat.changed()
        return super().register_forward_pre_hook(hook, prepend=prepend, with_kwargs=with_kwargs)

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
        state.update(self._underived(), _derived_of=())
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
        super().forget()
        self._calls: dict[Any, Callable[..., Tensor]] = {}
        self._real: tuple[Tensor, Tensor] | None = None

    def _underived(self) -> dict[str, Any]:
        return {"_calls": {}, "_real": None}

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
            return self._plain(x, source, target, skip, skip_edge, after)
        call = self.bound(x.shape[2:], source, target, skip_edge, after)
        # The fused add overwrites what it adds to: whoever else reads that keeps it.
        return call(x) if skip is None else call(x, skip.clone(memory_format=torch.channels_last))

    def bound(
        self, size: Size, source: Edge, target: Edge | None, skip_edge: Edge | None = None, after: str = "none"
    ) -> Callable[..., Tensor]:
        """`forward` in oneDNN's operators for maps of `size`, as a function of `x`, or of `x` and a `skip`, which it
        overwrites."""
        self.renew()
        # A convolution packed for another image size is reordered at every call, up to 400 times slower.
        one_for_all = self._is_product(skip_edge)
        key = (None if one_for_all else (size[0], size[1]), source, target, skip_edge, after)
        call = self._calls.get(key)
        if call is None:
            with torch.inference_mode(False), torch.no_grad():
                call = self._bind(size, source, target, skip_edge, after)
            while len(self._calls) >= MAX_PACKS:
                self._calls.pop(next(iter(self._calls)), None)
            self._calls[key] = call
        return call

    def out_size(self, size: Size) -> Size:
        """Height and width of what comes out."""
        return [-(-side // self.window.stride) for side in size]

    def on_vector(self, x: Tensor, factor: float = 1.0) -> Tensor:
        """(B, C) floats, times `factor`, to (B, O) floats by the integer weights: the same in both executions.

        For one position oneDNN's set-up, and the codes of what comes in, would take longer than the product. That sums
        in float64, so that a picture's answer does not depend on how many others are in the batch; Apple's GPUs have
        none.
        """
        if plain() is not arithmetic:
            y = plain().multiply_floats(x * factor, self.weight, self.scale, self.bias)
            return arithmetic.activate(y, self.activation)
        self.renew()
        if self._real is None:
            wide = torch.float32 if x.device.type == "mps" else torch.float64
            with torch.inference_mode(False), torch.no_grad():
                weight = (self.weight.flatten(1).to(wide) * self.scale.to(wide)[:, None]).T.contiguous()
                self._real = (weight, self.bias.to(wide))
        weight, bias = self._real
        return arithmetic.activate(torch.addmm(bias, x.to(weight.dtype), weight, alpha=factor).float(), self.activation)

    def _is_product(self, skip_edge: Edge | None) -> bool:
        """Whether it runs as a matrix product: with VNNI that has a fifth less set-up, without it takes up to 8 times
        as long."""
        return self.linear or (self.pointwise and skip_edge is None and onednn.trusted())

    def _bind(
        self, size: Size, source: Edge, target: Edge | None, skip_edge: Edge | None, after: str
    ) -> Callable[..., Tensor]:
        tensors = (self.weight, self.scale, self.bias)
        if int(self.weight.abs().max()) > onednn.widest_weight(depthwise=self.window.groups > 1):
            onednn.warn_of_reference()
            if self.linear or not packed.available():
                return lambda x, skip=None: self._plain(x, source, target, skip, skip_edge, after)
            return wide.bind(
                *tensors,
                window=self.window,
                size=size,
                source=source,
                target=target,
                activation=self.activation,
                skip_edge=skip_edge,
                after=after,
            )
        if skip_edge is not None and (self.activation != "none" or after not in onednn.AFTER_ADD):
            # The operators know no activation between the convolution and the sum, and few behind the sum.
            assert target is not None
            return _added_in_floats(self.bound(size, source, None), skip_edge, after, target)
        if self._is_product(skip_edge):
            return onednn.linear(*tensors, source, target, self.activation, on_map=not self.linear)
        convolution = onednn.PackedConv(*tensors, source=source, window=self.window, size=size)
        if target is not None and convolution.rounding > target.scale / 4:
            return lambda x, skip=None: self._plain(x, source, target, skip, skip_edge, after)
        if skip_edge is None:
            return convolution.bind(target, self.activation)
        assert target is not None
        return convolution.bind_add(target, skip_edge, after)

    def _plain(
        self, x: Tensor, source: Edge, target: Edge | None, skip: Tensor | None, skip_edge: Edge | None, after: str
    ) -> Tensor:
        numerics = plain()
        if self.linear:
            y = numerics.multiply(x, source, self.weight, self.scale, self.bias)
        else:
            y = numerics.convolve(x, source, self.weight, self.scale, self.bias, self.window)
        y = numerics.before_activation(y, self.activation, target, skip_edge, after)
        y = arithmetic.activate(y, self.activation)
        if skip is not None:
            assert skip_edge is not None and target is not None
            y = numerics.before_sum(y, skip_edge, after, target)
            y = arithmetic.activate(y + numerics.dequantize(skip, skip_edge), after)
        return y if target is None else numerics.quantize(y, target)


def fits(model: nn.Module) -> bool:
    """Whether all int8 weights of the model are narrow enough for this host's integer operators."""
    weights = [m.weight for m in model.modules() if isinstance(m, Int8Layer) and m.weight.dtype == torch.int8]
    return all(int(weight.abs().max()) <= onednn.widest_weight() for weight in weights)


def _added_in_floats(
    convolve: Callable[[Tensor], Tensor], skip_edge: Edge, after: str, target: Edge
) -> Callable[[Tensor, Tensor], Tensor]:
    def call(x: Tensor, skip: Tensor) -> Tensor:
        y = convolve(x) + arithmetic.dequantize(skip, skip_edge)
        return arithmetic.quantize(arithmetic.activate(y, after), target)

    return call
