"""Embedding tables whose rows lie on several processes.

Shapes: N rows of a table, K its width, U different rows that are asked for.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import torch.nn as nn
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import DTensor, Shard
from torch.nn.parallel import DistributedDataParallel

from zoo import kinds
from zoo.blocks.table_rows import Table
from zoo.model.build import Model, build_row, not_a_model
from zoo.model.defaults import usual_defaults
from zoo.model.finite import check_values
from zoo.parallel.processes import AXIS, agree, gathered
from zoo.spec import Block

BLOCK = 65536  # rows of a fresh table that are drawn at once


class ShardedTable(nn.Module):
    """A `Table` of which each process holds a run of rows: row-wise sharding (Mudigere et al., 2022).

    A process asks each other one for the rows that its part of the batch needs, each row once. Gradients go back the
    same way and are averaged over the processes, as those of `DistributedDataParallel` are.

    Args:
        weight (DTensor): the table (N, K), sharded by `Shard(0)`: ceil(N / processes) rows on each, fewer on the last.

    Shape:
        (...) row numbers to (..., K).
    """

    def __init__(self, weight: DTensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, rows: Tensor) -> Tensor:
        # DTensor's own embedding makes a gradient of the whole table on every process.
        weight: Any = self.weight
        mesh: DeviceMesh = weight.device_mesh
        group, each = mesh.get_group(), rows_each(weight)
        wanted, places = rows.reshape(-1).unique(return_inverse=True)  # sorted: the rows of one process lie together
        ends = torch.arange(1, mesh.size() + 1, device=rows.device) * each
        sent = torch.searchsorted(wanted, ends).diff(prepend=wanted.new_zeros(1))
        received = torch.empty_like(sent)
        dist.all_to_all_single(received, sent, group=group)
        there, here = sent.tolist(), received.tolist()
        asked = _exchanged(wanted, there, here, group)
        local = weight.to_local()
        if local.requires_grad:
            local.register_hook(lambda gradient: gradient / mesh.size())
        found = local.index_select(0, asked - mesh.get_local_rank() * each)
        vectors: Tensor = _Exchange.apply(found, here, there, group)  # type: ignore[no-untyped-call]
        return vectors.index_select(0, places.reshape(-1)).view(*rows.shape, weight.shape[1])

    def extra_repr(self) -> str:
        return f"{tuple(self.weight.shape)}, {self.weight.to_local().shape[0]} rows here"  # type: ignore[operator, attr-defined]


class _Exchange(torch.autograd.Function):
    """Each process gives the others vectors (U, K), and the gradients go back."""

    @staticmethod
    def forward(ctx: Any, vectors: Tensor, sent: Sequence[int], received: Sequence[int], group: Any) -> Tensor:
        ctx.back = (received, sent, group)
        return _exchanged(vectors, sent, received, group)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return _exchanged(gradient, *ctx.back), None, None, None


def _exchanged(values: Tensor, sent: Sequence[int], received: Sequence[int], group: Any) -> Tensor:
    """`sent` of the values to each process, and as many as were `received` of each."""
    out = values.new_empty((sum(received), *values.shape[1:]))
    dist.all_to_all_single(out, values.contiguous(), list(received), list(sent), group=group)
    return out


def rows_each(weight: Any) -> int:
    """The rows of a sharded table on each process but the last."""
    rows: int = weight.shape[0]
    return max(1, -(-rows // weight.device_mesh.size()))


def shard_tables(model: Model, mesh: DeviceMesh | None = None, *, seed: int = 0) -> Model:
    """Share the rows of a recommender's embedding tables among processes. Every process calls it.

    Everything else stays whole on every process; `DistributedDataParallel(model)` trains that, and leaves the tables to
    their own processes. An optimiser's states are of the rows that its process holds. `zoo.parallel.save` writes the
    network to one ordinary file.

    Args:
        model (Model): a recommender in float32, alike on every process; it is changed in place. Of a network that
            `zoo.load` maps from a file, each process reads its own rows. One on the "meta" device
            (`zoo.build(spec, device="meta")`) gets fresh weights, which do not depend on the number of processes.
        mesh (DeviceMesh | None): the processes, on one axis. Default: None, all of the default process group.
        seed (int): of the fresh weights of a network on the "meta" device. Default: 0.

    Returns:
        Model: the same network.

    Raises:
        ValueError: there is no process group, the mesh has several axes, the processes have different networks, a
            network has no float32 tables, or a table has values that are not finite.

    Example:
        >>> from zoo.parallel.processes import processes
        >>> with processes() as mesh:
        ...     model = zoo.shard_tables(zoo.create("deepfm", weights=None), mesh)
        ...     model(model.spec.input.example(2)).shape
        torch.Size([2, 1])
    """
    if not isinstance(model, Model):
        raise not_a_model("shard_tables", model)
    tables = {path: part for path, part in model.named_modules() if isinstance(part, Table)}
    mesh = _checked(mesh)
    if len(set(gathered((model.spec.dumps(), len(tables)), mesh))) > 1:
        raise ValueError(f"The processes have different networks: make the same {model.spec.name} on each.")
    if not tables:
        raise ValueError(
            f"{model.spec.name} has no embedding tables in float32 to share: shard_tables takes a recommender that is "
            "neither int8 nor sharded already."
        )
    fresh = all(weight.is_meta for weight in model.state_dict().values())
    if fresh:
        _fill_around(model, tables, seed)
    problem = ""
    for path, table in tables.items():
        weight = _own_rows(table, mesh, _mixed(seed, zlib.crc32(path.encode())) if fresh else None)
        try:
            check_values({f"{path}.weight": weight.to_local()}, model.spec.name)
        except ValueError as error:
            problem = str(error)
        parent, _, name = path.rpartition(".")
        model.get_submodule(parent).register_module(name, ShardedTable(weight))
    agree(mesh, problem)
    if fresh:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model.initialize()
    model._unread = False
    apart = [f"{path}.weight" for path in tables]
    apart += [name for name, buffer in model.named_buffers() if not buffer.is_floating_point()]  # known values
    DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(model, apart)
    return model


def _checked(mesh: DeviceMesh | None) -> DeviceMesh:
    if mesh is None:
        if not dist.is_initialized():
            raise ValueError(
                "shard_tables needs a process group: start the program by torchrun, and call "
                "torch.distributed.init_process_group first (or use zoo.parallel.processes.processes)."
            )
        mesh = init_device_mesh("cpu", (dist.get_world_size(),), mesh_dim_names=(AXIS,))
    if mesh.ndim != 1:
        raise ValueError(
            f"shard_tables takes a mesh of one axis, not of {mesh.ndim}; of a larger mesh give the part, such as "
            f"mesh[{AXIS!r}]."
        )
    return mesh


def _own_rows(table: Table, mesh: DeviceMesh, seed: int | None) -> DTensor:
    """The table as a DTensor, with a copy of the rows of this process; with a `seed`, fresh ones."""
    whole = table.weight.detach()
    rows, width = whole.shape
    each = max(1, -(-rows // mesh.size()))
    first = min(mesh.get_local_rank() * each, rows)
    last = min(first + each, rows)
    own = whole[first:last].clone() if seed is None else _fresh(first, last, width, table.std, seed)
    return DTensor.from_local(own, mesh, [Shard(0)], run_check=False, shape=whole.shape, stride=whole.stride())


def _fresh(first: int, last: int, width: int, std: float, seed: int) -> Tensor:
    """Rows `first` to `last` of a fresh table. They are drawn in blocks, so that any process draws the same."""
    own = torch.empty(last - first, width)
    for start in range(first // BLOCK * BLOCK, last, BLOCK):
        drawn = torch.empty(BLOCK, width).normal_(
            0.0, std, generator=torch.Generator().manual_seed(_mixed(seed, start))
        )
        begin, end = max(start, first), min(start + BLOCK, last)
        own[begin - first : end - first] = drawn[begin - start : end - start]
    return own


def _fill_around(model: Model, tables: Iterable[str], seed: int) -> None:
    """Give fresh values to all that is no table: those of the same rows around small tables."""
    around: dict[str, Tensor] = {}
    with torch.random.fork_rng(devices=[]), usual_defaults():
        torch.manual_seed(seed)
        for row in model.spec:
            around |= {
                f"{row.name}.{key}": value for key, value in build_row(_small(row), "float32").state_dict().items()
            }
    weights = {f"{path}.weight" for path in tables}
    state = {key: value for key, value in model.state_dict().items() if key not in weights}
    for key, value in state.items():
        state[key] = around[key] if around[key].shape == value.shape else torch.zeros(value.shape, dtype=value.dtype)
    model.load_state_dict(state, strict=False, assign=True)


def _small(row: Block) -> Block:
    """The row with two rows in each of its tables, and no known values."""
    if not kinds.KINDS[row.kind].tables(row.args):
        return row
    short: dict[str, Any] = {name: (2,) * len(row.args[name]) for name in ("rows", "crosses") if name in row.args}
    return row.replace(**short, **({"keys": ()} if "keys" in row.args else {}))


def _mixed(*numbers: int) -> int:
    """One seed from several numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])
