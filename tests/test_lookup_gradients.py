"""The gradients of lookups, of the wide part and of factorization machines are those of the plain formulas."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from zoo.blocks.feature_embedding import FeatureEmbedding
from zoo.blocks.interactions import FactorizationMachine, Wide

ROWS, COLUMNS = (5, 7, 2, 9, 4), (1, 1, 2, 3, 1)
READS = ("row", "row", "number", "mean", "row")
SHORT, LONG = ROWS, (5, 7, 2, 900, 4)  # a list's table that is small beside its slots, and one that is not


def inputs(rows: tuple[int, ...], batch: int = 40) -> Tensor:
    numbers = torch.Generator().manual_seed(0)
    columns = []
    for count, read, size in zip(rows, READS, (1, 1, 1, 3, 1), strict=True):
        columns.append(torch.randint(count, (batch, size), generator=numbers).double())
        if read == "number":
            columns.append(torch.randn(batch, 1, generator=numbers, dtype=torch.float64))
    x = torch.cat(columns, 1)
    x[:3, 4:7] = 0.0  # lists without values
    return x


def plain(block: FeatureEmbedding | Wide, table: Tensor, x: Tensor) -> Tensor:
    """The vectors of each feature (B, F, K), one lookup after another."""
    found, base, column = [], 0, 0
    for rows, columns, read in zip(ROWS if len(table) == sum(ROWS) else LONG, COLUMNS, READS, strict=True):
        asked = x[:, column : column + (1 if read == "number" else columns)].long()
        vectors = table[base + asked]
        if read == "mean":
            there = (asked > 0).double()
            vectors = (vectors * there[..., None]).sum(1) / there.sum(1, keepdim=True).clamp(min=1)
            found.append(torch.where(there.sum(1, keepdim=True) > 0, vectors, table[base]))
        else:
            scale = (
                torch.where(asked > 0, x[:, column + 1 : column + 2], 1.0) if read == "number" else asked.new_ones(1)
            )
            found.append(vectors[:, 0] * scale)
        base, column = base + rows, column + columns
    return torch.stack(found, 1)


@pytest.mark.parametrize("rows", [SHORT, LONG])
def test_of_vectors(rows: tuple[int, ...]) -> None:
    block = FeatureEmbedding(rows=rows, columns=COLUMNS, reads=READS, dims=(8,) * 5).double()
    x, weight = inputs(rows), next(block.parameters())
    factors = torch.randn(40, 5, 8, dtype=torch.float64)
    expected = plain(block, weight, x)
    (wanted,) = torch.autograd.grad((expected * factors).sum(), weight)
    found = block(x).view(40, 5, 8)
    (given,) = torch.autograd.grad((found * factors).sum(), weight)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(given, wanted)
    assert wanted.abs().sum() > 0


@pytest.mark.parametrize("rows", [SHORT, LONG])
def test_of_the_wide_part(rows: tuple[int, ...]) -> None:
    block = Wide(rows=rows, columns=COLUMNS, reads=READS).double()
    torch.nn.init.normal_(block.table.weight)
    x, factors = inputs(rows), torch.randn(40, 1, dtype=torch.float64)
    expected = plain(block, block.table.weight, x).sum(1) + block.bias
    wanted = torch.autograd.grad((expected * factors).sum(), (block.table.weight, block.bias))
    given = torch.autograd.grad((block(x) * factors).sum(), (block.table.weight, block.bias))
    torch.testing.assert_close(block(x), expected)
    torch.testing.assert_close(given, wanted)


@pytest.mark.parametrize("dims", [(8, 8, 8), (8, 3, 5)])
def test_of_all_pairs(dims: tuple[int, ...]) -> None:
    block, x = FactorizationMachine(dims=dims), torch.randn(4, sum(dims), dtype=torch.float64, requires_grad=True)
    padded = [torch.nn.functional.pad(one, (0, 8 - one.shape[1])) for one in x.split(dims, 1)]
    pairs = sum((padded[i] * padded[j]).sum(1) for i in range(3) for j in range(i))
    torch.testing.assert_close(block(x)[:, 0], pairs)
    torch.testing.assert_close(*(torch.autograd.grad(one.sum(), x, retain_graph=True)[0] for one in (block(x), pairs)))
    assert torch.autograd.gradcheck(block, (x,))
