"""The layers of a network that multiply by weights, and what each takes and gives on calibration inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from zoo import kinds
from zoo.passes.folding import folded, unfolded
from zoo.passes.gram import Columns
from zoo.passes.stream import Stream
from zoo.spec import Block


@dataclass(frozen=True)
class Place:
    """A layer that multiplies by weights, in its row."""

    row: Block
    layer: kinds.Layer

    @property
    def prefix(self) -> str:
        return f"{self.row.name}.{self.layer.path}"

    @property
    def key(self) -> str:
        """Of its weight in the state dict."""
        return f"{self.prefix}{'conv.' if self.layer.norm else ''}weight"

    @property
    def path(self) -> str:
        return self.layer.path.removesuffix(".")

    @property
    def biased(self) -> bool:
        return self.layer.norm or self.layer.bias

    def folded(self, state: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        return folded(state, self.prefix, self.layer, kinds.arguments(self.row).get("eps", 0.0))

    def start(self, state: Mapping[str, Tensor]) -> Tensor:
        """Its folded weight as (G, O, C), in float64."""
        flat = self.folded(state)[0].double().flatten(1)
        return flat[:, None] if self.layer.depthwise else flat[None]

    def set(self, module: nn.Module, state: Mapping[str, Tensor], weight: Tensor, bias: Tensor, mask: Tensor) -> None:
        """Give the row's `module` that weight (G, O, C) and bias (G, O); exact zeros outside of `mask`."""
        shape = state[self.key].shape
        weight, mask = weight.reshape(shape), mask.reshape(shape)
        fresh = unfolded(
            state, self.prefix, self.layer, kinds.arguments(self.row).get("eps", 0.0), weight, bias.flatten()
        )
        fresh[self.key] = fresh[self.key].masked_fill(~mask, 0.0)
        cut = len(self.row.name) + 1
        module.load_state_dict({key[cut:]: value for key, value in fresh.items()}, strict=False)


def places(row: Block) -> list[Place]:
    """The row's layers as they run, those beside the others first: the sum makes up for them."""
    found = sorted(kinds.KINDS[row.kind].layers(kinds.arguments(row)), key=lambda layer: not layer.from_row_input)
    return [Place(row, layer) for layer in found if not layer.table]


class Reader:
    """Lays out what a layer takes, and what stands beside its output, as columns of a `Gram`; padding left out."""

    def __init__(self, place: Place, stream: Stream) -> None:
        self.place, self.masks = place, stream.masks
        self.columns = Columns(place.layer, sum(map(len, stream.inputs)))

    def taken(self, part: int, x: Tensor) -> Tensor:
        if "patch" in kinds.arguments(self.place.row):  # the kernel steps by its own size
            return self.columns.taken(F.pixel_unshuffle(x, self.place.layer.kernel).flatten(2).mT)
        return self.columns.taken(x, self.masks[part])

    def given(self, part: int, y: Tensor) -> Tensor:
        """At the places of `taken`."""
        return self.columns.given(y, self.masks[part])


def shortcut(place: Place) -> Callable[[Stream], Iterable[Tensor]] | None:
    """A function of a stream that gives what is added to the layer's output; None where nothing is."""
    args, total = kinds.arguments(place.row), kinds.residual(place.row)
    if "norm_first" in args:  # tokens: attention and MLP have a sum each
        behind = "norm2" if args["norm_first"] else "mlp"
        sums = {"attn.proj": lambda stream: stream.inputs, "mlp.fc2": lambda stream: stream.taken(behind)}
        return sums.get(place.path)
    if total is None or place.path != total.part or place.layer.activation != "none":
        return None
    return lambda stream: stream.inputs if total.shortcut == "in" else stream.given(total.shortcut)
