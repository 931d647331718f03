"""Write a network whose tables lie on several processes to one ordinary file, which no process holds as a whole."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.tensor import DTensor

from zoo import kinds
from zoo.files import FileError, path_to_write
from zoo.model.build import Model
from zoo.model.finite import check_values
from zoo.model.verify import signatures
from zoo.parallel.processes import agree
from zoo.parallel.tables import rows_each
from zoo.weights.bitmask import is_smaller, split
from zoo.weights.container import WEIGHTS, Signature
from zoo.weights.file import arrays_of
from zoo.weights.folder_writer import write_folder
from zoo.weights.header import encode_header

CHUNK_BYTES = 16_000_000  # of a table that are sent and written at once


def save(model: Model, folder: str | os.PathLike[str]) -> None:
    """Write a network of `zoo.shard_tables` as `zoo.save` would write it from one process. Every process calls it.

    The first process writes. The others send it their rows, 16 MB at a time.

    Args:
        model (Model): the network, not the `DistributedDataParallel` around it.
        folder (str | os.PathLike[str]): where the first process writes; the folder is made if it is missing.

    Raises:
        FileError: on every process: the model is not what its spec says, a value is not finite, or the folder cannot
            be written; what was there is untouched.

    Example:
        >>> from zoo.parallel.processes import processes
        >>> from zoo.parallel.saving import save
        >>> with processes() as mesh:
        ...     model = zoo.shard_tables(zoo.create("deepfm", weights=None), mesh)
        ...     save(model, "my-network")
        >>> zoo.load("my-network").spec.name
        'deepfm'
    """
    state = model.state_dict()
    tables: dict[str, Any] = {key: value for key, value in state.items() if isinstance(value, DTensor)}
    if not tables:
        raise FileError("The network's tables are not shared among processes; zoo.save writes it.")
    mesh = next(iter(tables.values())).device_mesh
    agree(mesh, _problem(model, state), FileError)
    counts = torch.tensor([int((table.to_local().view(torch.int32) != 0).sum()) for table in tables.values()])
    dist.all_reduce(counts, group=mesh.get_group())
    kept = dict(zip(tables, counts.tolist(), strict=True))
    held: dict[str, Any] = {}
    for key, value in state.items():
        held |= _of_table(key, value, kept[key]) if key in tables else arrays_of(key, value)
    found: dict[str, Signature] = {name: (str(one.dtype), one.shape) for name, one in held.items()}
    head, order = encode_header(found, model.spec, model.labels, model.made)
    content = _content(head, [held[name] for name in order])
    problem = ""
    if mesh.get_local_rank() == 0:
        try:
            write_folder(path_to_write(folder), {WEIGHTS: content}, model.spec, model.labels, model.made)
        except (FileError, OSError) as error:
            problem = str(error)
    for _ in content:  # the others send; where writing failed, the first process takes what they still send
        pass
    agree(mesh, problem, FileError)


def _problem(model: Model, state: Mapping[str, Tensor]) -> str:
    """Why this process's part of the network cannot be saved; empty if it can."""
    if signatures(state) != kinds.model_state(model.spec):
        return f"{model.spec.name} is not what its spec says: its tensors have other names, types or shapes."
    try:
        own = {key: value.to_local() if isinstance(value, DTensor) else value for key, value in state.items()}
        check_values(own, model.spec.name)
    except ValueError as error:
        return str(error)
    return ""


class _Streamed(NamedTuple):
    """A tensor of the file, in pieces on the first process; on the others, each piece's turn to be sent."""

    dtype: str
    shape: tuple[int, ...]
    pieces: Callable[[], Iterator[np.ndarray]]


def _content(head: bytes, tensors: Sequence[Any]) -> Iterator[Any]:
    """The file's bytes in pieces."""
    yield head
    for one in tensors:
        if isinstance(one, _Streamed):
            yield from one.pieces()
        else:
            yield one


def _of_table(key: str, table: Any, kept: int) -> dict[str, _Streamed]:
    """The tensors of a table, of which `kept` values are not zero, packed as `arrays_of` packs."""
    size = table.numel()
    if not is_smaller(size, kept, table.element_size()):
        return {key: _Streamed("float32", tuple(table.shape), lambda: _runs(table))}
    return {
        f"{key}.bitmask": _Streamed("uint8", (-(-size // 8),), lambda: (split(run)[0] for run in _runs(table))),
        f"{key}.values": _Streamed("float32", (kept,), lambda: (split(run)[1] for run in _runs(table))),
    }


def _runs(table: Any) -> Iterator[np.ndarray]:
    """The table (N, K), some rows at a time, on the first process. The others send their rows, and yield nothing."""
    group, me = table.device_mesh.get_group(), table.device_mesh.get_local_rank()
    local, each = table.to_local().detach().cpu().contiguous(), rows_each(table)
    rows, width = table.shape
    step = max(8, CHUNK_BYTES // (width * table.element_size()) // 8 * 8)  # runs of eight rows are whole bytes of bits
    for first in range(0, rows, step):
        last = min(first + step, rows)
        run = torch.empty(last - first, width) if me == 0 else None
        for owner in range(first // each, (last - 1) // each + 1):
            begin, end = max(first, owner * each), min(last, (owner + 1) * each)
            if run is not None and owner == 0:
                run[: end - first] = local[begin:end]
            elif run is not None:
                dist.recv(run[begin - first : end - first], dist.get_global_rank(group, owner), group)
            elif owner == me:
                dist.send(local[begin - owner * each : end - owner * each], dist.get_global_rank(group, 0), group)
        if run is not None:
            yield run.numpy()
