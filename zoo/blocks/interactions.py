"""How the features of a table's row act together: the wide part, factorization machines, cross layers.

Shapes: B batch, F features, K width of their vectors, D = F * K.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate
from typing import Any

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from zoo.blocks.linear import Multiplying
from zoo.blocks.table_rows import RowReader, Table
from zoo.blocks.traced import traced

_FEW = 64  # inputs: a product with ones is quicker then than as many sums as there are vectors


class Wide(nn.Module):
    """A linear model of a table's row: one weight for each value, for each cross and for each number.

    It is the wide part of Wide & Deep (Cheng et al., 2016), and the first order of a factorization machine.

    Args:
        rows (tuple[int, ...]): as for `FeatureEmbedding`.
        columns (tuple[int, ...]): as for `FeatureEmbedding`.
        reads (tuple[str, ...]): as for `FeatureEmbedding`.
        crosses (tuple[int, ...]): the rows of each cross, a row number in one of the last columns. Default: none.

    Shape:
        float64 (B, sum of columns + crosses) to (B, 1).

    Example:
        >>> block = zoo.blocks.Wide(rows=(5, 2), columns=(1, 2), reads=("row", "number"))
        >>> block(torch.tensor([[3.0, 1.0, 0.5]], dtype=torch.float64)).shape
        torch.Size([1, 1])
    """

    def __init__(
        self,
        *,
        rows: tuple[int, ...],
        columns: tuple[int, ...],
        reads: tuple[str, ...],
        crosses: tuple[int, ...] = (),
    ) -> None:
        super().__init__()
        columns, reads = (*columns, *(1 for _ in crosses)), (*reads, *("row" for _ in crosses))
        firsts = [0, *accumulate(columns)][:-1]
        self.reads = reads
        self.reader = RowReader((*rows, *crosses), columns, reads, firsts)
        self.table = self.make_table(self.reader.rows, (*rows, *crosses))
        self.bias = nn.Parameter(torch.zeros(1))

    def make_table(self, rows: int, parts: tuple[int, ...]) -> nn.Module:
        """The module that maps row numbers (...) to weights (..., 1); `parts` are the rows of each feature."""
        return Table(rows, 1, std=0.0)

    def forward(self, x: Tensor) -> Tensor:
        if self.reader.takes_one(x):
            found, counts = self.reader.one(x[0].tolist())
            return torch.addmm(self.bias, torch.tensor([counts], dtype=self.bias.dtype), self.table(found))
        rows, weights, _ = self.reader(x, self.bias.dtype)
        table: Any = self.table
        if weights is not None and hasattr(table, "totals") and not traced():
            return table.totals(rows, weights) + self.bias  # type: ignore[no-any-return]
        found = self.table(rows).squeeze(-1)
        found = found if weights is None else found * weights
        return found.sum(1, keepdim=True) + self.bias


class FactorizationMachine(nn.Module):
    """The sum of the products of all pairs of vectors (Rendle, 2010), in linear time.

    Where vectors differ in width, the shorter ones count as padded by zeros.

    Args:
        dims (tuple[int, ...]): the width of each feature's vectors, one behind the other.

    Shape:
        (B, sum of dims) to (B, 1).

    Example:
        >>> block = zoo.blocks.FactorizationMachine(dims=(8, 8, 8))
        >>> block(torch.randn(2, 24)).shape
        torch.Size([2, 1])
    """

    def __init__(self, *, dims: tuple[int, ...]) -> None:
        super().__init__()
        self.dims = dims
        self._on: dict[tuple[torch.dtype, torch.device], Tensor] = {}

    def extra_repr(self) -> str:
        return f"dims={self.dims}"

    def forward(self, x: Tensor) -> Tensor:
        width = max(self.dims)
        if min(self.dims) < width and not traced():
            return _pairs(x[:, :, None], self._total(x))
        if min(self.dims) == width:
            vectors = x.unflatten(1, (len(self.dims), width))
        else:
            vectors = torch.stack([F.pad(one, (0, width - one.shape[1])) for one in x.split(self.dims, 1)], 1)
        if vectors.requires_grad and torch.is_grad_enabled() and not traced():
            return _Pairs.apply(vectors)  # type: ignore[no-untyped-call, no-any-return]
        return _pairs(vectors, vectors.sum(1))

    def _total(self, x: Tensor) -> Tensor:
        """The sum of the vectors (B, width)."""
        if len(x) <= _FEW:
            return x @ self._places(x)
        total = torch.zeros_like(x[:, : max(self.dims)], memory_format=torch.contiguous_format)
        for part in x.split(self.dims, 1):
            total[:, : part.shape[1]] += part
        return total

    def _places(self, x: Tensor) -> Tensor:
        """Sums the vectors' entries of one place: ones in (sum of dims, width)."""
        found = self._on.get((x.dtype, x.device))
        if found is None:
            with torch.inference_mode(False):
                width = max(self.dims)
                parts = [torch.eye(dim, width, dtype=x.dtype, device=x.device) for dim in self.dims]
                found = self._on[x.dtype, x.device] = torch.cat(parts)
        return found


class _Pairs(torch.autograd.Function):
    """`_pairs` with a gradient of fewer passes: that of a vector is the sum of the others."""

    @staticmethod
    def forward(ctx: Any, vectors: Tensor) -> Tensor:
        total = vectors.sum(1)
        ctx.save_for_backward(vectors, total)
        return _pairs(vectors, total)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        vectors, total = ctx.saved_tensors
        return (total[:, None] - vectors).mul_(grad[..., None])


def _pairs(vectors: Tensor, total: Tensor) -> Tensor:
    """The products of all pairs of vectors (B, F, K), whose sum is `total` (B, K): (B, 1).

    Of the vectors the squares alone count, in whatever order.
    """
    return 0.5 * (_squares(total) - _squares(vectors.flatten(1)))


def _squares(x: Tensor) -> Tensor:
    """The sum of squares (B, 1). A norm reads `x` once, and has no gradient at zero."""
    if torch.is_grad_enabled() or traced():
        return x.square().sum(1, keepdim=True)
    return torch.linalg.vector_norm(x, dim=1, keepdim=True).square()


class CrossLayer(Multiplying):
    """One layer of a cross network, version 2 (DCN V2: Wang et al., 2021): x0 * (W x + b) + x.

    Args:
        features (int): width D of the vectors.
        rank (int): the rank of W, which is then two smaller matrices; 0 for a full one. Default: 0.

    Shape:
        x (B, D) and x0 (B, D) to (B, D).

    Example:
        >>> block = zoo.blocks.CrossLayer(features=24, rank=4)
        >>> x = torch.randn(2, 24)
        >>> block(x, x).shape
        torch.Size([2, 24])
    """

    make_linear: Callable[..., nn.Module] = nn.Linear

    def __init__(self, *, features: int, rank: int = 0) -> None:
        super().__init__()
        if rank:
            self.down = self.make_linear(features, rank, bias=False)
            self.up = self.make_linear(rank, features)
        else:
            self.fc = self.make_linear(features, features)
        self.rank = rank
        self.finish()

    def forward(self, x: Tensor, x0: Tensor) -> Tensor:
        """Cross once more.

        Args:
            x (Tensor): what the layer before gives, (B, D).
            x0 (Tensor): what the first layer took, (B, D).

        Returns:
            (B, D).
        """
        return torch.addcmul(x, x0, self.weighted(x))

    def weighted(self, x: Tensor) -> Tensor:
        """W x + b."""
        if not self.rank:
            return self.product(self.fc, x, 0)
        return self.product(self.up, self.product(self.down, x, 0), 1)
