"""The layers of a network that multiply by weights, and what their weights cost on calibration inputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from zoo import kinds
from zoo.passes.folding import folded, unfolded
from zoo.passes.gram import Columns, Gram, as_columns
from zoo.passes.quadratic import Quadratic
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
    def eps(self) -> float:
        """Of its batch norm."""
        return float(kinds.arguments(self.row).get("eps", 0.0))

    @property
    def biased(self) -> bool:
        return self.layer.norm or self.layer.bias

    def folded(self, state: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        return folded(state, self.prefix, self.layer, self.eps)

    def unfolded(self, state: Mapping[str, Tensor], weight: Tensor, bias: Tensor) -> dict[str, Tensor]:
        """The entries of the state with which it computes that folded weight and bias."""
        return unfolded(state, self.prefix, self.layer, self.eps, weight, bias)

    def load(self, module: nn.Module, entries: Mapping[str, Tensor]) -> None:
        """Put those entries of a state into the row's `module`."""
        cut = len(self.row.name) + 1
        module.load_state_dict({key[cut:]: value for key, value in entries.items()}, strict=False)

    def start(self, state: Mapping[str, Tensor]) -> Tensor:
        """Its folded weight as (G, O, C), in float64."""
        flat = self.folded(state)[0].double().flatten(1)
        return flat[:, None] if self.layer.depthwise else flat[None]

    def set(self, module: nn.Module, state: Mapping[str, Tensor], weight: Tensor, bias: Tensor, mask: Tensor) -> None:
        """Give the row's `module` that weight (G, O, C) and bias (G, O); exact zeros outside of `mask`."""
        shape = state[self.key].shape
        weight, mask = weight.reshape(shape), mask.reshape(shape)
        fresh = self.unfolded(state, weight, bias.flatten())
        fresh[self.key] = fresh[self.key].masked_fill(~mask, 0.0)
        self.load(module, fresh)


def places(row: Block) -> list[Place]:
    """The row's layers that multiply."""
    return [Place(row, layer) for layer in kinds.KINDS[row.kind].layers(kinds.arguments(row)) if not layer.table]


def own_system(stream: Stream, state: Mapping[str, Tensor], place: Place, *, biased: bool | None = None) -> Quadratic:
    """What weights cost where those of `state` are the best, on what the layer takes; padding left out.

    `biased`: whether a bias goes with them that makes up for the mean; None: where the layer has one.
    """
    gram, columns = Gram(), Columns(place.layer, sum(map(len, stream.inputs)))
    for x, mask in zip(stream.taken(place.path), stream.masks_of(place.layer.source), strict=True):
        if "patch" in kinds.arguments(place.row):  # the kernel steps by its own size
            gram.add(columns.taken(F.pixel_unshuffle(x, place.layer.kernel).flatten(2).mT))
        else:
            gram.add(columns.taken(x, mask))
    gram.xy = gram.xx @ as_columns(place.layer, *place.folded(state))
    return Quadratic.of(gram, place.start(state), biased=place.biased if biased is None else biased)
