"""`build(spec)`: the only way from a spec to a model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from typing import Any

import torch
import torch.nn as nn
from torch import Tensor

from zoo import kinds
from zoo.registry import BLOCKS, fetch
from zoo.spec import Block, ModelSpec, SpecError


class Model(nn.Module):
    """A network as its spec says: one child a row, run in order.

    `labels` are the names of the classes, empty where unknown; `made` says how the weights came to be (JSON-like).
    """

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        for row in spec:
            if hasattr(self, row.name) or row.name in ("spec", "labels", "made"):
                raise SpecError(f"A row cannot be called {row.name!r}: a module has an attribute of that name.")
            self.add_module(row.name, _build_row(row))
        self.spec = spec
        self.labels: tuple[str, ...] = ()
        self.made: Mapping[str, Any] = {}
        self._kept = frozenset(tap for row in spec for tap in row.taps)

    def forward(self, x: Tensor, *, taps: Iterable[str] = ()) -> Any:
        """(B, channels, H, W) to the last row's output; with `taps`, to (output, {row name: that row's output})."""
        self._check_input(x)
        wanted = self._kept.union(taps)
        unknown = wanted - {"input", *self._modules}
        if unknown:
            raise ValueError(f"No such rows to tap: {sorted(unknown)}; the rows are {list(self._modules)}.")
        kept: dict[str, Tensor] = {"input": x} if "input" in wanted else {}
        for row, module in zip(self.spec.rows, self._modules.values(), strict=True):
            x = module(x, *(kept[tap] for tap in row.taps))  # type: ignore[misc]
            if row.name in wanted:
                kept[row.name] = x
        return (x, {name: self._readable(name, kept[name]) for name in taps}) if taps else x

    def _readable(self, name: str, value: Tensor) -> Tensor:
        """A tapped uint8 output as the floats it stands for."""
        return self.get_submodule(name).dequantize(value) if value.dtype == torch.uint8 else value

    def _check_input(self, x: Tensor) -> None:
        channels = self.spec.input.channels
        if x.dim() != 4 or x.shape[1] != channels or x.dtype == torch.uint8:
            raise ValueError(
                f"{self.spec.name} takes normalised floats of shape (batch, {channels}, height, width), "
                f"not {str(x.dtype).removeprefix('torch.')} of shape {tuple(x.shape)}; zoo.preprocess(model) makes them."
            )


def build(spec: ModelSpec, *, device: str | torch.device | None = None) -> Model:
    """The network, in eval mode, with freshly initialised float weights; on "meta" without memory.

    Raises SpecError for rows of an unknown kind, out of bounds, or that do not fit together.
    """
    kinds.check(spec)
    with torch.device(device) if device is not None else nullcontext():
        model = Model(spec)
    if device is None or torch.device(device).type != "meta":
        initialize(model)
    return model.eval()


def from_state(spec: ModelSpec, state: Mapping[str, Tensor]) -> Model:
    """The network around existing tensors, which are used as they are, not copied."""
    kinds.check(spec)
    with torch.device("meta"):
        model = Model(spec)
    model.load_state_dict(state, assign=True)
    return model.eval()


def initialize(model: nn.Module) -> None:
    """Convolutions by fan-out (He et al., 2015), linear layers small, batch norm at rest."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels // module.groups
            nn.init.normal_(module.weight, 0.0, (2 / fan_out) ** 0.5)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0.0, 0.01)
            nn.init.zeros_(module.bias)


def _build_row(row: Block) -> nn.Module:
    make = fetch(BLOCKS[row.kind, row.precision])
    args = kinds.arguments(row)
    return make(**args, emits=row.emits) if row.precision == "int8" else make(**args)
