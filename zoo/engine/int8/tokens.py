"""Integer weights for streams of tokens: products and tables.

Codes have one scale and zero point an edge (static), or one scale a token, found as it comes (dynamic): then a token's
largest value is 127 away from the zero point 128.
"""

from __future__ import annotations

import torch
from torch import Tensor

from zoo.blocks import settled
from zoo.engine.arithmetic import QParams
from zoo.engine.execution import numerics
from zoo.engine.int8.layer import Int8Layer
from zoo.engine.int8.ranged import Ranged


class TokenLinear(Int8Layer):
    """A linear layer on every token: (..., C) to (..., O). `activation` follows it."""

    has_bias = True

    def __init__(self, in_features: int, out_features: int, *, activation: str = "none") -> None:
        super().__init__(in_features, out_features, linear=True, activation=activation)

    def product(self, x: Tensor, source: QParams | None, target: QParams | None = None) -> Tensor:
        """Floats, or codes on `source`, to codes on `target`, or to floats where it is None.

        Where `source` is None every token has a scale of its own.
        """
        ready = self._calls.get(("tokens", source, target)) if settled.state.get() is settled.OPEN else None
        if ready is not None and x.dtype in (torch.float32, torch.uint8):
            y = ready(x.reshape(-1, x.shape[-1]))  # what `numerics` comes to
        else:
            y = numerics(x.device).tokens(self, x, source, target)
        return y.view(*x.shape[:-1], y.shape[-1])  # type: ignore[no-any-return]


class TokenTable(TokenLinear):
    """A table of vectors, each with its own scale: ids (B, N) to floats (B, N, D), and products with all of it."""

    has_bias = False
    is_table = True  # whose rows alone are read, unless a head is tied to it

    def __init__(self, vocabulary: int, dim: int) -> None:
        super().__init__(dim, vocabulary)
        del self.bias
        self._zeros: Tensor | None = None

    @property
    def bias(self) -> Tensor:  # type: ignore[override]
        """Zeros: a tied head has no bias."""
        if self._zeros is None or self._zeros.device != self.scale.device:
            self._zeros = torch.zeros_like(self.scale)
        return self._zeros

    def _underived(self) -> dict[str, object]:
        return {**super()._underived(), "_zeros": None}

    def forward(self, ids: Tensor) -> Tensor:  # type: ignore[override]
        return self.weight[ids].float() * self.scale[ids][..., None]


class StaticQParams(Ranged):
    """A row whose inner edges were ranged beforehand."""

    edge_count: int

    def finish(self) -> None:
        """The last step of its float form's `__init__`."""
        self._hold_qparams(self.edge_count)

    def products(self) -> list[tuple[TokenLinear, QParams]]:
        """The layers that read codes, and on which edge."""
        raise TypeError(f"{type(self).__name__} does not say what it multiplies.")
