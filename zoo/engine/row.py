"""What int8, qat and fused rows share: how a row is made of its layout, called, and run as one function."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import torch.nn as nn
from torch import Tensor

from zoo.engine.arithmetic import QParams, Size
from zoo.engine.cpu.call_plan import CallPlan, Step
from zoo.engine.leaf import Leaf
from zoo.engine.module import EngineModule
from zoo.engine.squeeze_excite import SqueezeExciteLeaf

if TYPE_CHECKING:
    from zoo.kinds import Layout


class Parts(Protocol):
    """How a row's parts become functions of codes: as the modules that they are, or as functions of this processor."""

    def __call__(
        self,
        part: Any,
        size: Size,
        source: QParams,
        target: QParams | None,
        skip_qparams: QParams | None = None,
        after: str = ...,
    ) -> Callable[..., Tensor]: ...


def as_module(
    part: Any,
    size: Size,
    source: QParams,
    target: QParams | None,
    skip_qparams: QParams | None = None,
    after: str = "none",
) -> Callable[..., Tensor]:
    """The part as a module, whatever it runs and whoever watches it."""
    if skip_qparams is None:
        return lambda x: part(x, source, target)
    return lambda x, skip: part(x, source, target, skip, skip_qparams, after)


def as_function(
    part: Any,
    size: Size,
    source: QParams,
    target: QParams | None,
    skip_qparams: QParams | None = None,
    after: str = "none",
) -> Callable[..., Tensor]:
    """The part's own fast function for maps of `size`; it overwrites the skip."""
    return part.function(size, source, target, skip_qparams, after)  # type: ignore[no-any-return]


class Row(EngineModule):
    """Layers, entry and exit; `build_forward` says how the parts make codes of codes.

    `layer` and `squeeze_excite` are the classes of the parts. A row that is the same without some of its parts names
    them as `optional`: they are None then.
    """

    layer: type[Leaf]
    squeeze_excite: type[SqueezeExciteLeaf]
    runner: type[CallPlan] | None = CallPlan  # how a network of such rows runs them
    optional: tuple[str, ...] = ()
    ends_in_floats = False  # whether `build_forward` gives floats where the row emits them

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self.emits = layout.emits
        self.edge_of_tap = tuple(
            layout.edges.index(edge) if (edge := f"tap{tap}") in layout.edges else -1
            for tap in range(len(layout.tapped))
        )
        self._hold_qparams(len(layout.edges))
        for path, shape in layout.leaves.items():
            group, _, name = path.rpartition(".")
            if group and group not in self._modules:
                part = self.squeeze_excite(layout.args["se_gate"]) if group == "se" else nn.Module()
                self.add_module(group, part)
            self.get_submodule(group).add_module(name, self.layer(**shape._asdict()))
        for name in self.optional:
            if name not in self._modules:
                setattr(self, name, None)

    def _hold_qparams(self, count: int) -> None:
        """Make the tensors of the row's quantization parameters."""
        raise TypeError(f"{type(self).__name__} does not say what its quantization parameters are.")

    @property
    def qparams(self) -> tuple[QParams, ...]:
        """Scale and zero point of each of the row's edges, in the order that `zoo.kinds` gives."""
        raise TypeError(f"{type(self).__name__} does not say what its quantization parameters are.")

    def extra_repr(self) -> str:
        return f"emits={self.emits}"

    def enter(self, x: Tensor) -> Tensor:
        """What came in, as the row's first layer takes it."""
        return x

    def dequantize(self, codes: Tensor) -> Tensor:
        """What the last layer gives, as the floats that it stands for."""
        return codes

    def enter_tap(self, tap: int, x: Tensor) -> Tensor:
        """What was tapped, as the row's layers take it."""
        return x

    def forward(self, x: Tensor, *tapped: Tensor) -> Tensor:
        step = self.build_forward(as_module, x.shape[2:], *(one.shape[2:] for one in tapped))
        codes = step(self.enter(x), *(self.enter_tap(tap, one) for tap, one in enumerate(tapped)))
        return codes if self.emits == "uint8" or self.ends_in_floats else self.dequantize(codes)

    def function(self, x: Tensor, *tapped: Tensor) -> Step:
        """`forward` for inputs like `x` and `tapped` as one function, which may overwrite codes that come in as `x`."""
        return self

    def build_forward(self, part: Parts, size: Size, *sizes: Size) -> Step:
        """The row as a function of codes on its first edge to codes on its last, for maps of `size`; `sizes` are those
        of the tapped maps, which the function takes too."""
        raise TypeError(f"{type(self).__name__} does not say how it runs.")
