"""The training leaves: a convolution or linear layer, and a squeeze-and-excite, of float weights rounded as int8's."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from zoo.engine import arithmetic
from zoo.engine.leaf import Leaf
from zoo.engine.qat.rounding import fake_quantize, fake_quantize_weight
from zoo.engine.squeeze_excite import SqueezeExciteLeaf


class QatLayer(Leaf):
    """`Int8Layer` in training: float weights (O, C / groups, k, k) or (O, C), whose scales follow from them.

    Called as an `Int8Layer`, with floats on the codes of an edge where that has the codes, and learned edges.
    """

    def _hold(self, shape: tuple[int, ...]) -> None:
        self.weight = nn.Parameter(torch.zeros(shape, dtype=torch.float32))
        self.bias = nn.Parameter(torch.zeros(shape[0], dtype=torch.float32))

    def forward(
        self,
        x: Tensor,
        source: Any,
        target: Any,
        skip: Tensor | None = None,
        skip_qparams: Any = None,
        after: str = "none",
    ) -> Tensor:
        weight = fake_quantize_weight(self.weight)
        y = F.linear(x, weight, self.bias) if self.linear else arithmetic.slide(x, weight, self.bias, self.window)
        y = arithmetic.activate(y, self.activation)
        if skip is not None:
            y = arithmetic.activate(y + skip, after)
        return y if target is None else fake_quantize(y, target)

    def on_vector(self, x: Tensor, factor: float = 1.0) -> Tensor:
        """(B, C) floats, times `factor`, to (B, O) floats, in float32."""
        weight = fake_quantize_weight(self.weight).flatten(1)
        with arithmetic.exact(x.device):
            return arithmetic.activate(F.linear(x * factor, weight, self.bias), self.activation)


class QatSqueezeExcite(SqueezeExciteLeaf):
    """`Int8SqueezeExcite` in training: a float map (B, C, H, W) to floats on the codes of `target`."""

    def forward(self, x: Tensor, source: Any, target: Any) -> Tensor:
        return fake_quantize(x * self.gates(x), target)
