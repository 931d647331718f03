"""Edges that were ranged beforehand, as a row holds them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from zoo.engine.arithmetic import QParams
from zoo.engine.module import EngineModule


class Ranged(EngineModule):
    """`edges` (n, 2): scale and zero point of each edge, in the order that `zoo.kinds` gives."""

    edges: Tensor

    def _hold_qparams(self, count: int) -> None:
        self.register_buffer("edges", torch.tensor([[1.0, 0.0]] * count, dtype=torch.float32))
        self._read_qparams: tuple[QParams, ...] | None = None

    def invalidate(self) -> None:
        super().invalidate()
        self._read_qparams = None

    def _underived(self) -> dict[str, Any]:
        return {**super()._underived(), "_read_qparams": None}

    @property
    def qparams(self) -> tuple[QParams, ...]:
        """The quantization parameters as numbers, read from the tensor once."""
        self.refresh()
        if self._read_qparams is None:
            self._read_qparams = tuple(QParams(scale, int(zero)) for scale, zero in self.edges.tolist())
        return self._read_qparams
