"""Rows of embedding tables: what a network of table rows looks up, and how the values of one feature are joined.

Shapes: B batch, C columns of the input, S slots (one for each row number in an input), F features, K width of a table.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from zoo.blocks.traced import traced

_FEW = 1024  # values of the matrix that joins the slots of one input
DENSE = 16  # rows of a table for each slot of a list
_ONCE = [1.0]

READS = ("row", "mean", "sum", "number")  # one row; the mean or the sum of a list's rows; a row times a number


class Table(nn.Module):
    """Vectors (rows, width), started small."""

    _unread = ""  # the name of a large table of a file, whose rows are looked at when they are asked for

    def __init__(self, rows: int, width: int, std: float = 0.01) -> None:
        super().__init__()
        self.std = std
        self.weight = nn.Parameter(torch.empty(rows, width))
        nn.init.normal_(self.weight, 0.0, std)

    def forward(self, rows: Tensor) -> Tensor:
        """(...) row numbers to vectors (..., width)."""
        # The gradient of index_select takes a tenth of the time of an embedding's.
        found = self.weight.index_select(0, rows.reshape(-1)).view(*rows.shape, self.weight.shape[1])
        return self._looked_at(found) if self._unread else found

    def vector(self, rows: Sequence[int], by: Sequence[float]) -> Tensor:
        """The sum (1, width) of some rows, each times its part of `by`, of one input."""
        weight = self.weight
        if len(rows) > 1:
            found = torch.tensor([by], dtype=weight.dtype) @ weight.index_select(0, torch.tensor(rows))
        else:
            found = weight.narrow(0, rows[0], 1)
            found = found if by[0] == 1.0 else found * by[0]
        return self._looked_at(found) if self._unread else found

    def bags(self, rows: Tensor, weights: Tensor, slots: Slots) -> Tensor:
        """(B, S) row numbers to (B, F, width): each feature's vectors, times `weights` (B, S), summed."""
        batch, count = rows.shape
        first = torch.arange(0, batch * count, count, device=rows.device)[:, None] + slots.starts
        found: Tensor = _Bags.apply(self.weight, rows, weights.to(self.weight.dtype), first.view(-1), slots.runs)  # type: ignore[no-untyped-call]
        found = found.view(batch, len(slots.starts), -1)
        return self._looked_at(found) if self._unread else found

    def totals(self, rows: Tensor, weights: Tensor) -> Tensor:
        """(B, S) row numbers to (B, width): all their vectors, times `weights` (B, S), summed."""
        found: Tensor = _Totals.apply(self.weight, rows, weights)  # type: ignore[no-untyped-call]
        return self._looked_at(found) if self._unread else found

    def _looked_at(self, found: Tensor) -> Tensor:
        if not traced() and not bool(found.detach().isfinite().all()):
            raise ValueError(f"{self._unread} has rows that are not finite, and this batch asks for one of them.")
        return found


class _Totals(torch.autograd.Function):
    """The sum of the weighted vectors of each input, with a quick gradient for vectors of one value."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, rows: Tensor, weights: Tensor) -> Tensor:
        ctx.save_for_backward(rows, weights)
        ctx.shape = weight.shape
        return F.embedding_bag(rows, weight, mode="sum", per_sample_weights=weights)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        rows, weights = ctx.saved_tensors
        count, width = ctx.shape
        if width == 1 and grad.device.type == "cpu":
            return torch.bincount(rows.view(-1), (grad * weights).view(-1), count).to(grad.dtype)[:, None], None, None
        of_slots = (grad[:, None] * weights[..., None]).view(-1, width)
        return grad.new_zeros(ctx.shape).index_add_(0, rows.view(-1), of_slots), None, None


class _Bags(torch.autograd.Function):
    """`F.embedding_bag`, whose own gradient takes ten times as long as a lookup's."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, rows: Tensor, weights: Tensor, first: Tensor, runs: Any) -> Tensor:
        ctx.save_for_backward(rows, weights)
        ctx.shape, ctx.runs = weight.shape, runs
        return F.embedding_bag(rows.view(-1), weight, first, mode="sum", per_sample_weights=weights.view(-1))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        rows, weights = ctx.saved_tensors
        vectors = grad.view(len(rows), -1, ctx.shape[1])
        found = grad.new_zeros(ctx.shape)
        for run in ctx.runs:
            run.add(vectors, rows, weights, found)
        return found, None, None, None, None


class Run(NamedTuple):
    """Neighbouring slots that are read alike: of several features with a slot each, or of one list."""

    read: str
    first: int  # slot
    last: int
    feature: int  # the first one
    base: int  # where the table of a list begins
    rows: int  # of a list's table

    def add(self, grad: Tensor, rows: Tensor, weights: Tensor, found: Tensor) -> None:
        """Add to `found`, the gradient of the table, what the vectors' gradients (B, F, K) make of these slots."""
        rows, weights = rows[:, self.first : self.last], weights[:, self.first : self.last]
        if self.read not in ("row", "number"):
            of_list = grad[:, self.feature]
            if self.rows <= DENSE * rows.shape[1]:  # a product with a small matrix is quicker than adding rows
                counts = grad.new_zeros(len(rows), self.rows).scatter_add_(1, rows - self.base, weights)
                found[self.base : self.base + self.rows] += counts.t() @ of_list
                return
            of_slots = of_list[:, None] * weights[..., None]
        else:
            of_slots = grad[:, self.feature : self.feature + rows.shape[1]]
            of_slots = of_slots * weights[..., None] if self.read == "number" else of_slots
        found.index_add_(0, rows.reshape(-1), of_slots.reshape(-1, grad.shape[2]))


class Slots(NamedTuple):
    """What of an input is read, on one device: `columns` (S,) hold row numbers, `values` numbers that scale vectors."""

    columns: Tensor
    bases: Tensor  # (S,) where the tables of the slots begin in the one table that holds them
    starts: Tensor  # (F,) first slots of the features
    values: Tensor  # (N,) the columns of numbers
    runs: tuple[Run, ...]


class RowReader:
    """Which rows of one table some features of an input ask for, and by how much each counts.

    Args:
        rows (Sequence[int]): the rows of each feature's part of the table.
        columns (Sequence[int]): how many columns of the input each feature has.
        reads (Sequence[str]): how each is read, of `READS`.
        firsts (Sequence[int]): the first column of each feature.
    """

    def __init__(
        self, rows: Sequence[int], columns: Sequence[int], reads: Sequence[str], firsts: Sequence[int]
    ) -> None:
        self.reads = tuple(reads)
        self.sizes = tuple(1 if read == "number" else count for read, count in zip(reads, columns, strict=True))
        bases = [0, *accumulate(rows)]
        starts = [0, *accumulate(self.sizes)]
        self.rows = bases[-1]
        self.features = [place for place, size in enumerate(self.sizes) for _ in range(size)]  # of each slot
        self._places = [first + one for first, size in zip(firsts, self.sizes, strict=True) for one in range(size)]
        self._bases = [base for base, size in zip(bases, self.sizes, strict=False) for _ in range(size)]
        self._starts = starts[:-1]
        numbers = [place for place, read in enumerate(reads) if read == "number"]
        self._scaled = [starts[place] for place in numbers]
        self._values = [firsts[place] + 1 for place in numbers]
        start = self.first = self._places[0]  # the first column
        ends = (start, start + len(self._places))
        self._range = ends if self._places == list(range(*ends)) else None  # columns side by side are sliced
        self.lists = [
            (starts[place], starts[place + 1], read)
            for place, read in enumerate(reads)
            if read in ("mean", "sum") and columns[place] > 0
        ]
        self.plain = not self.lists and not numbers  # one row for each feature, and nothing else
        self._runs = _runs(self.reads, self.sizes, rows)
        slots = len(self._places)
        self._few = slots * len(self.reads) <= _FEW
        self._features = list(zip(self.reads, firsts, self.sizes, bases, strict=False))
        self._diagonal = [feature * slots + slot for slot, feature in enumerate(self.features)]
        self._empty = [0.0] * (slots * len(self.reads)) if self._few else []
        self._on: dict[torch.device, Slots] = {}

    def slots(self, device: torch.device) -> Slots:
        """Its constants on `device`."""
        if traced():  # whose tensors have no values
            return self._slots(device)
        found = self._on.get(device)
        if found is None:
            with torch.inference_mode(False):
                found = self._on[device] = self._slots(device)
        return found

    def _slots(self, device: torch.device) -> Slots:
        held = (self._places, self._bases, self._starts, self._values)
        columns, bases, starts, values = (torch.tensor(one, dtype=torch.int64, device=device) for one in held)
        return Slots(columns, bases, starts, values, self._runs)

    def takes_one(self, x: Tensor) -> bool:
        """Whether `x` is one input on the CPU with few slots: Python's numbers are quicker then than tensors are."""
        return x.shape[0] == 1 and self._few and x.device.type == "cpu" and not traced()

    def one(self, given: Sequence[float]) -> tuple[Tensor, list[float]]:
        """The columns of one input (C,) to (rows (S,), how much each counts)."""
        rows, weights = list[int](), list[float]()
        for read, first, size, base in self._features:
            if read == "row":
                rows.append(int(given[first]) + base)
                weights.append(1.0)
                continue
            numbers = [int(number) for number in given[first : first + size]]
            rows += [number + base for number in numbers]
            if read == "number":
                weights.append(given[first + 1] if numbers[0] else 1.0)
                continue
            count = size - numbers.count(0)
            each = 1.0 / count if count and read == "mean" else 1.0
            weights += [each if number else 0.0 for number in numbers] if count else [1.0, *[0.0] * (size - 1)]
        return torch.tensor(rows), weights

    def asked(self, feature: int, given: Sequence[float]) -> tuple[list[int], list[float]]:
        """The same of one feature, without the slots of a list that count nothing."""
        read, first, size, base = self._features[feature]
        if read == "row":
            return [int(given[first]) + base], _ONCE
        if read == "number":
            row = int(given[first])
            return [row + base], [given[first + 1]] if row else _ONCE
        rows = [int(number) + base for number in given[first : first + size] if number] or [base]
        return rows, [1.0 / len(rows) if read == "mean" else 1.0] * len(rows)

    def pooling(self, weights: Sequence[float], dtype: torch.dtype) -> Tensor:
        """The matrix (F, S) that joins the vectors of all slots to one for each feature."""
        flat = self._empty.copy()
        for place, weight in zip(self._diagonal, weights, strict=True):
            flat[place] = weight
        return torch.tensor(flat, dtype=dtype).view(len(self.reads), -1)

    def __call__(self, x: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor | None, Slots]:
        """An input (B, C) to (rows (B, S), how much each counts (B, S) or None for 1, slots)."""
        slots = self.slots(x.device)
        numbers = (x[:, slots.columns] if self._range is None else x[:, self._range[0] : self._range[1]]).long()
        weights = None if self.plain else self._weights(x, numbers, slots, dtype)
        return numbers + slots.bases, weights, slots

    def _weights(self, x: Tensor, numbers: Tensor, slots: Slots, dtype: torch.dtype) -> Tensor:
        parts: list[Tensor] = []
        for read, first, last, *_ in self._runs:
            of_run = numbers[:, first:last]
            there = of_run != 0
            if read == "row":
                parts.append((of_run >= 0).to(dtype))  # ones, which an export makes for any batch
            elif read == "number":
                values = x[:, slots.values[self._scaled.index(first) :][: last - first]].to(dtype)
                parts.append(torch.where(there, values, 1.0))  # row 0 stands for a missing number, as it is
            else:
                count = there.sum(1, keepdim=True)
                counted = there.to(dtype) / count.clamp(min=1) if read == "mean" else there.to(dtype)
                empty = (count == 0).to(dtype)  # a list without values is missing: row 0, once
                parts += [counted[:, :1] + empty, counted[:, 1:]]
        return torch.cat(parts, 1)

    def joined(self, vectors: Tensor, weights: Tensor | None) -> Tensor:
        """Vectors of all slots (B, S, K) to one for each feature (B, F, K), in plain operators."""
        if weights is not None:
            vectors = vectors * weights[..., None]
        if not self.lists:
            return vectors
        runs = ((vectors[:, first:last], read in ("row", "number")) for read, first, last, *_ in self._runs)
        return torch.cat([one if single else one.sum(1, keepdim=True) for one, single in runs], 1)


def _runs(reads: Sequence[str], sizes: Sequence[int], rows: Sequence[int]) -> tuple[Run, ...]:
    """Neighbours that are read alike; each list by itself."""
    found: list[Run] = []
    start = base = 0
    for feature, (read, size, count) in enumerate(zip(reads, sizes, rows, strict=False)):
        if found and found[-1].read == read and read in ("row", "number"):
            found[-1] = found[-1]._replace(last=start + size)
        else:
            found.append(Run(read, start, start + size, feature, base, count))
        start, base = start + size, base + count
    return tuple(found)
