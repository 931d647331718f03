"""Integer forms of the rows of recommenders that multiply: products are integer, what is between them floats.

Shapes: B batch, C and O widths.
"""

from __future__ import annotations

from typing import Any

import torch.nn as nn
from torch import Tensor

from zoo.blocks.interactions import CrossLayer
from zoo.blocks.streams import BilinearHead, FeatureGate, LogitHead
from zoo.engine.arithmetic import QParams
from zoo.engine.int8.tokens import StaticQParams, TokenLinear


def _integer(in_features: int, out_features: int, *, bias: bool = True) -> nn.Module:
    """A bias there always is: zeros cost nothing."""
    return TokenLinear(in_features, out_features)


class Products(StaticQParams):
    """A row whose layers called `names` take codes, each on an edge of its own; layers that are None are left out."""

    names: tuple[str, ...]

    def finish(self) -> None:
        self._hold_qparams(len(self._layers()))

    def product(self, layer: Any, x: Tensor, place: int) -> Tensor:
        """(B, C) floats to (B, O) floats; `place` is the layer's edge."""
        return layer.product(x, self.qparams[place])  # type: ignore[no-any-return]

    def products(self) -> list[tuple[TokenLinear, QParams]]:
        return list(zip(self._layers(), self.qparams, strict=True))

    def _layers(self) -> list[Any]:
        return [layer for name in self.names if (layer := getattr(self, name, None)) is not None]


class Int8CrossLayer(Products, CrossLayer):
    """`CrossLayer` with integer weights."""

    names = ("down", "up", "fc")
    make_linear = staticmethod(_integer)


class Int8FeatureGate(Products, FeatureGate):
    """`FeatureGate` with integer weights."""

    names = ("fc1", "fc2")
    make_linear = staticmethod(_integer)


class Int8LogitHead(Products, LogitHead):
    """`LogitHead` with integer weights."""

    names = ("fc", "side")
    make_linear = staticmethod(_integer)


class Int8BilinearHead(Products, BilinearHead):
    """`BilinearHead` with integer weights for each stream by itself; the products of both stay floats."""

    names = ("fc", "side")
    make_linear = staticmethod(_integer)
