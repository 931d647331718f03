"""The leaf of int8, qat and fused rows: one convolution or linear layer, and what is derived from it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

from zoo.engine.arithmetic import Size, Window
from zoo.engine.module import EngineModule

MAX_PACKS = 8  # kept ready a layer

Derived = TypeVar("Derived")


class Leaf(EngineModule):
    """Weights (O, C / groups, k, k) or (O, C) and biases (O,). Edges between layers belong to the row.

    A subclass says what it holds (`_hold`), how it is called (`forward`), and what function of this processor's
    operators does the same (`function`).
    """

    weight: Tensor
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
        self.invalidate()

    def _hold(self, shape: tuple[int, ...]) -> None:
        """Make the layer's tensors, for weights of `shape`."""
        raise TypeError(f"{type(self).__name__} does not say what it holds.")

    def function(
        self, size: Size, source: Any, target: Any, skip_qparams: Any = None, after: str = "none"
    ) -> Callable[..., Tensor]:
        """`forward` in this processor's operators for maps of `size`: a function of `x`, or of `x` and a `skip`."""
        raise TypeError(f"{type(self).__name__} does not run in this processor's operators.")

    def on_vector(self, x: Tensor, factor: float = 1.0) -> Tensor:
        """(B, C) floats, times `factor`, to (B, O) floats."""
        raise TypeError(f"{type(self).__name__} takes no vectors.")

    def out_size(self, size: Size) -> Size:
        """Height and width of what comes out."""
        return [-(-side // self.window.stride) for side in size]

    def remember(self, key: Any, make: Callable[[], Derived]) -> Derived:
        """What `make` derives from the tensors, made once for each `key` until one of them changes."""
        self.refresh()
        found = self._calls.get(key)
        if found is None:
            with torch.inference_mode(False), torch.no_grad():
                found = make()
            while len(self._calls) >= MAX_PACKS:
                self._calls.pop(next(iter(self._calls)), None)
            self._calls[key] = found
        return found  # type: ignore[no-any-return]

    def invalidate(self) -> None:
        super().invalidate()
        self._calls: dict[Any, Any] = {}

    def _underived(self) -> dict[str, Any]:
        return {**super()._underived(), "_calls": {}}

    def extra_repr(self) -> str:
        return f"{tuple(self.weight.shape)}, {self.window}, activation={self.activation}"
