"""From rows of a table to vectors of its features."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import torch
import torch.nn as nn
from torch import Tensor

from zoo.blocks.table_rows import READS, RowReader, Table
from zoo.blocks.traced import traced

_ALONE = 12  # features of one input whose vectors are taken one by one, whatever tables they are in


class FeatureEmbedding(nn.Module):
    """Look up a vector for each feature of a table's row, one behind the other (Cheng et al., 2016).

    Row 0 of each feature's table stands for a missing value. A number multiplies its vector. The features whose vectors
    have one width share a table.

    Args:
        rows (tuple[int, ...]): the rows of each feature's table.
        columns (tuple[int, ...]): how many columns of the input each feature has.
        reads (tuple[str, ...]): how each feature is read: "row", by one row number; "mean" or "sum", of a list of
            them, padded by 0; "number", by row 0 or 1 (missing, present) and a number.
        dims (tuple[int, ...]): the width of each feature's vectors.
        keys (tuple[int, ...]): how many known values each feature has, with their keys in `vocabulary`. Default: none.

    Attributes:
        vocabulary (Tensor): the keys of the known values, int64, feature by feature, sorted in each.

    Shape:
        float64 (B, sum of columns), which may be followed by others, to (B, sum of dims).

    Raises:
        ValueError: the tuples differ in length, or a way to read is unknown.

    Example:
        >>> block = zoo.blocks.FeatureEmbedding(rows=(5, 2), columns=(1, 2), reads=("row", "number"), dims=(8, 8))
        >>> block(torch.tensor([[3.0, 1.0, 0.5]], dtype=torch.float64)).shape
        torch.Size([1, 16])
    """

    def __init__(
        self,
        *,
        rows: tuple[int, ...],
        columns: tuple[int, ...],
        reads: tuple[str, ...],
        dims: tuple[int, ...],
        keys: tuple[int, ...] = (),
    ) -> None:
        super().__init__()
        if not len(rows) == len(columns) == len(reads) == len(dims):
            raise ValueError(f"rows, columns, reads, dims are one a feature, not {rows}, {columns}, {reads}, {dims}.")
        if unknown := set(reads) - set(READS):
            raise ValueError(f"Unknown reads {sorted(unknown)}; choose of {READS}.")
        self.dims, self.reads = dims, reads
        self.register_buffer("vocabulary", torch.zeros(sum(keys), dtype=torch.int64))
        firsts = [0, *accumulate(columns)]
        self._groups: list[list[int]] = [[] for _ in range(len(set(dims)))]
        widths = list(dict.fromkeys(dims))
        for place, width in enumerate(dims):
            self._groups[widths.index(width)].append(place)
        where = {one: (group, at) for group, members in enumerate(self._groups) for at, one in enumerate(members)}
        self._places = [where[one] for one in range(len(dims))]  # the table of each feature, and its place in it
        self._readers = [_reader(group, rows, columns, reads, firsts) for group in self._groups]
        made = [self.make_table(one.rows, width) for one, width in zip(self._readers, widths, strict=True)]
        self.tables = nn.ModuleList(made)

    def make_table(self, rows: int, width: int) -> nn.Module:
        """The module that maps row numbers (...) to vectors (..., width)."""
        return Table(rows, width)

    def extra_repr(self) -> str:
        return f"dims={self.dims}, reads={self.reads}"

    def forward(self, x: Tensor) -> Tensor:
        if self._readers and self._readers[0].takes_one(x):
            return self._of_one(x)
        if len(self._groups) == 1:
            return self._of_group(0, x).flatten(1)
        vectors: list[Any] = [None] * len(self.dims)
        numbers: Tensor | None = None
        for group, (features, reader) in enumerate(zip(self._groups, self._readers, strict=True)):
            if reader.plain and len(features) == 1:  # of pruned networks, many are
                numbers = x.long() if numbers is None else numbers
                vectors[features[0]] = self.tables[group](numbers[:, reader.first])
                continue
            for place, vector in zip(features, self._of_group(group, x).unbind(1), strict=True):
                vectors[place] = vector
        return torch.cat(vectors, 1)

    def _of_one(self, x: Tensor) -> Tensor:
        given: list[float] = x[0].tolist()
        tables: list[Any] = list(self.tables)
        if len(self.dims) <= _ALONE and all(hasattr(table, "vector") for table in tables):
            places = ((tables[group], self._readers[group], place) for group, place in self._places)
            return torch.cat([table.vector(*reader.asked(place, given)) for table, reader, place in places], 1)
        vectors: list[Any] = [None] * len(self.dims)
        for group, reader, table in zip(self._groups, self._readers, tables, strict=True):
            rows, counts = reader.one(given)
            found = self.pooled(table, rows, reader.pooling(counts, self.dtype))
            for place, vector in zip(group, found.split(1), strict=True):
                vectors[place] = vector
        return torch.cat(vectors, 1)

    def _of_group(self, place: int, x: Tensor) -> Tensor:
        """The vectors of features of one width (B, F, K)."""
        table: Any = self.tables[place]
        reader = self._readers[place]
        rows, weights, slots = reader(x, self.dtype)
        if reader.lists and hasattr(table, "bags") and not traced():
            return table.bags(rows, weights, slots)  # type: ignore[no-any-return]
        return reader.joined(table(rows), weights)

    def pooled(self, table: nn.Module, rows: Tensor, pooling: Tensor) -> Tensor:
        """The vectors of `rows` (S,), joined by `pooling` (F, S): (F, K)."""
        return pooling @ table(rows)  # type: ignore[no-any-return]

    @property
    def dtype(self) -> torch.dtype:
        """The type of the vectors."""
        return next((one.dtype for one in self.parameters()), torch.float32)


def _reader(
    group: Sequence[int], rows: Sequence[int], columns: Sequence[int], reads: Sequence[str], firsts: Sequence[int]
) -> RowReader:
    """Of the features at the places `group`."""
    return RowReader(
        [rows[place] for place in group],
        [columns[place] for place in group],
        [reads[place] for place in group],
        [firsts[place] for place in group],
    )
