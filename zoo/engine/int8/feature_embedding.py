"""Tables that are held and looked up in integers: what is looked up alone becomes floats.

Values are codes on a scale for each row (int8: -127..127; int4: -7..7, two in a byte), as in the row-wise tables of
torchrec and FBGEMM. Shapes: B batch, S slots, K width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn as nn
from torch import Tensor

from zoo.blocks.feature_embedding import FeatureEmbedding
from zoo.blocks.interactions import Wide
from zoo.blocks.table_rows import DENSE, Slots
from zoo.blocks.traced import traced
from zoo.engine.module import EngineModule

LEAST_SCALE = 2.0**-24  # of float16
MOST_SCALE = 65504.0
BATCH = 1 << 14  # rows that are quantized together, which a cache holds
SHRUNK = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7)  # of a row's largest value: what 4 bits reach to


class Int8Table(EngineModule):
    """Codes (rows, width) with a scale (rows,) for each row: row numbers (...) to floats (..., width)."""

    def __init__(self, rows: int, width: int) -> None:
        super().__init__()
        self.width = width
        self.register_buffer("weight", torch.zeros(self.held(rows), dtype=self.codes))
        self.register_buffer("scale", torch.ones(rows, dtype=torch.float16))
        self._arrays: tuple[Tensor, Tensor, Any, Any] | None = None  # the buffers, and numpy's views of them

    weight: Tensor
    scale: Tensor
    codes = torch.int8

    def held(self, rows: int) -> tuple[int, int]:
        """The shape of the codes."""
        return rows, self.width

    def extra_repr(self) -> str:
        return f"{len(self.weight)}, {self.width}"

    def forward(self, rows: Tensor) -> Tensor:
        if traced():
            codes, scale = self.looked_up(rows)
            return codes * scale[..., None]
        if rows.numel() == 1 and rows.is_cpu and self._counted():
            found = self._row(int(rows.item()))
            return found if rows.dim() == 1 else found.view(*rows.shape, self.width)
        flat = rows if rows.dim() == 1 else rows.reshape(-1)
        found = self.values(self.weight.index_select(0, flat))
        # In place: fresh memory costs more than the product.
        found.mul_(self.scale.take(flat).float().unsqueeze_(1))
        return found if rows.dim() == 1 else found.view(*rows.shape, self.width)

    def vector(self, rows: Sequence[int], by: Sequence[float]) -> Tensor:
        """The sum (1, width) of some rows, each times its part of `by`, of one input."""
        if len(rows) == 1 and self._counted():
            return self._row(rows[0], by[0])
        codes, scale = self.looked_up(torch.tensor(rows))
        return (torch.tensor(by, dtype=torch.float32) * scale)[None] @ codes

    def bags(self, rows: Tensor, weights: Tensor, slots: Slots) -> Tensor:
        """(B, S) row numbers to (B, F, width): each feature's vectors, times `weights` (B, S), summed."""
        out = torch.empty(len(rows), len(slots.starts), self.width, dtype=torch.float32, device=rows.device)
        for run in slots.runs:
            given, by = rows[:, run.first : run.last], weights[:, run.first : run.last]
            if run.read in ("row", "number"):
                codes, scale = self.looked_up(given)
                scale = scale if run.read == "row" else scale * by
                torch.mul(codes, scale[..., None], out=out[:, run.feature : run.feature + given.shape[1]])
            elif run.rows <= DENSE * given.shape[1]:  # a product with a small table is quicker than its rows
                counts = by.new_zeros(len(by), run.rows).scatter_add_(1, given - run.base, by)
                codes, scale = self.looked_up(torch.arange(run.base, run.base + run.rows, device=rows.device))
                out[:, run.feature] = (counts * scale) @ codes
            else:
                codes, scale = self.looked_up(given)
                out[:, run.feature] = torch.bmm((by * scale)[:, None], codes).squeeze(1)
        return out

    def _row(self, row: int, by: float = 1.0) -> Tensor:
        """One row (1, width): numpy takes half of the time of as many operators of torch."""
        weight, scale = self._buffers["weight"], self._buffers["scale"]
        held = self._arrays
        if held is None or held[0] is not weight or held[1] is not scale:
            assert weight is not None and scale is not None
            held = self.__dict__["_arrays"] = (weight, scale, weight.numpy(), scale.numpy())
        codes, scales = held[2], held[3]
        reach = scales[row] if by == 1.0 else np.float32(scales[row]) * np.float32(by)
        return torch.from_numpy(np.multiply(codes[row : row + 1], reach, dtype=np.float32))

    def _counted(self) -> bool:
        """Whether numpy can read the codes as numbers."""
        weight = self._buffers["weight"]
        return weight is not None and weight.dtype == torch.int8 and weight.is_cpu

    def _underived(self) -> dict[str, object]:
        return {**super()._underived(), "_arrays": None}

    def looked_up(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Row numbers (...) to (whole numbers (..., width), scale (...)), as floats."""
        flat = rows.reshape(-1)
        codes = self.values(self.weight.index_select(0, flat))
        scale = self.scale.index_select(0, flat).float()
        return codes.view(*rows.shape, self.width), scale.view(rows.shape)

    def values(self, codes: Tensor) -> Tensor:
        """Whole numbers, as floats, of what is held."""
        return codes.float()


class Int4Table(Int8Table):
    """The same in 4 bits: a byte holds two neighbours, the first in its lower half, as 1 to 15 for -7..7."""

    codes = torch.uint8

    def held(self, rows: int) -> tuple[int, int]:
        return rows, -(-self.width // 2)

    def values(self, codes: Tensor) -> Tensor:
        real = codes.float()
        high = torch.floor(real * (1.0 / 16))  # floats, which every runtime has
        both = torch.stack([real - 16.0 * high, high], -1).flatten(-2)
        return both[..., : self.width] - 8.0


class Int8Weights(EngineModule):
    """One code for each row, and a scale for each part of the rows: row numbers (B, S) to weights (B, S, 1).

    `parts` are the rows of each part, and `of_slots` says in which part each slot's rows are.
    """

    weight: Tensor
    scale: Tensor

    def __init__(self, parts: Sequence[int], of_slots: Sequence[int]) -> None:
        super().__init__()
        self.register_buffer("weight", torch.zeros(sum(parts), 1, dtype=torch.int8))
        self.register_buffer("scale", torch.ones(len(parts), dtype=torch.float16))
        self.of_slots = tuple(of_slots)
        self._spread: Tensor | None = None

    def forward(self, rows: Tensor) -> Tensor:
        if traced():
            return self.weight[rows].float() * self._by_slot()
        self.refresh()
        scale = self._spread
        if scale is None:
            with torch.inference_mode(False), torch.no_grad():
                scale = self._by_slot()
            self.__dict__["_spread"] = scale  # no tensor of its own, which would be a change
        return self.weight[rows].float() * scale

    def _by_slot(self) -> Tensor:
        """The scale of each slot, (S, 1)."""
        of_slots = torch.tensor(self.of_slots, device=self.scale.device)
        return self.scale.float().index_select(0, of_slots)[:, None]

    def invalidate(self) -> None:
        super().invalidate()
        self.__dict__["_spread"] = None

    def _underived(self) -> dict[str, object]:
        return {**super()._underived(), "_spread": None}


class Int8FeatureEmbedding(EngineModule, FeatureEmbedding):
    """`FeatureEmbedding` whose tables are held in 8 bits."""

    def make_table(self, rows: int, width: int) -> nn.Module:
        return Int8Table(rows, width)

    def pooled(self, table: Any, rows: Tensor, pooling: Tensor) -> Tensor:
        codes, scale = table.looked_up(rows)
        return (pooling * scale) @ codes  # type: ignore[no-any-return]


class Int4FeatureEmbedding(Int8FeatureEmbedding):
    """`FeatureEmbedding` whose tables are held in 4 bits."""

    def make_table(self, rows: int, width: int) -> nn.Module:
        return Int4Table(rows, width)


class Int8Wide(EngineModule, Wide):
    """`Wide` whose weights are held in 8 bits."""

    def make_table(self, rows: int, parts: tuple[int, ...]) -> nn.Module:
        return Int8Weights(parts, self.reader.features)


def quantized_rows(weight: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """A float table (rows, width) as (codes, scale (rows,)): int8, or for 4 bits uint8 (rows, half of the width).

    8 bits reach to the largest value of each row, 4 bits to where the squared error is least. Raises ValueError for
    values that no scale reaches.
    """
    most = 127 if bits == 8 else 7
    rows, width = weight.shape
    held = (rows, width) if bits == 8 else (rows, -(-width // 2))
    codes = torch.empty(held, dtype=torch.int8 if bits == 8 else torch.uint8, device=weight.device)
    scale = torch.empty(rows, dtype=torch.float16, device=weight.device)
    for part, own, by in zip(weight.split(BATCH), codes.split(BATCH), scale.split(BATCH), strict=True):
        found, reach = _quantized(part.float(), most)  # a part at a time: floats of a large table take its memory again
        own.copy_(found if bits == 8 else _two_in_a_byte(found))
        by.copy_(reach)
    return codes, scale


def quantized_parts(weight: Tensor, parts: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Single weights (rows, 1), with `parts` rows for each feature, as (int8 codes, scale for each feature)."""
    found = [_quantized(part.T, 127) for part in weight.float().split(list(parts))]
    return torch.cat([codes.T for codes, _ in found]).to(torch.int8), torch.cat([scale for _, scale in found])


def _quantized(weight: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """(whole numbers in -most..most as floats, scale in float16) of each row."""
    largest = weight.abs().amax(1)
    if bool((largest > MOST_SCALE * most).any()):
        raise ValueError(f"A table has the value {float(largest.max()):g}, which no scale in float16 reaches.")
    best, error = torch.ones_like(largest), torch.full_like(largest, torch.inf)
    for share in SHRUNK if most < 127 else (1.0,):
        scale = _rounded_up(largest * (share / most)).float()
        lost = (_codes(weight, scale, most) * scale[:, None] - weight).square().sum(1)
        best, error = torch.where(lost < error, scale, best), torch.minimum(lost, error)
    return _codes(weight, best, most), best.half()


def _codes(weight: Tensor, scale: Tensor, most: int) -> Tensor:
    return torch.round(weight / scale[:, None]).clamp_(-most, most)


def _rounded_up(scale: Tensor) -> Tensor:
    """To float16, upwards: the largest value of a row has a code."""
    found = scale.clamp(min=LEAST_SCALE).half()
    low = found.float() < scale
    return torch.where(low, (found.view(torch.int16) + 1).view(torch.float16), found)


def _two_in_a_byte(codes: Tensor) -> Tensor:
    shifted = (codes + 8).to(torch.uint8)
    if shifted.shape[1] % 2:
        shifted = torch.cat([shifted, shifted.new_full((len(shifted), 1), 8)], 1)
    return shifted[:, 0::2] | (shifted[:, 1::2] << 4)
