"""The processes of a run: those that torchrun started, or one alone. What one of them refuses, all refuse."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

AXIS = "dp"  # the data-parallel axis of a mesh
SECONDS = 600.0  # that a process waits for the others


@contextmanager
def processes(*, seconds: float = SECONDS) -> Iterator[DeviceMesh]:
    """The processes that torchrun started, or this one alone, as a mesh with the one axis "dp".

    They talk by gloo, on the CPU. A process that fails leaves the others waiting, for `seconds` at most.

    Args:
        seconds (float): how long a process waits for the others before it fails. Default: 600.0.

    Yields:
        The mesh.

    Example:
        >>> from zoo.parallel.processes import processes
        >>> with processes() as mesh:
        ...     mesh.size()
        1
    """
    wait = timedelta(seconds=seconds)
    if "WORLD_SIZE" in os.environ:
        dist.init_process_group("gloo", timeout=wait)
    else:
        store = dist.HashStore()  # type: ignore[attr-defined]
        dist.init_process_group("gloo", store=store, rank=0, world_size=1, timeout=wait)
    try:
        yield init_device_mesh("cpu", (dist.get_world_size(),), mesh_dim_names=(AXIS,))
    finally:
        dist.destroy_process_group()


def part(batch: Tensor, mesh: DeviceMesh) -> Tensor:
    """This process's part of a batch (B, ...) of all processes; parts differ by one row at most, and may be empty."""
    return batch.tensor_split(mesh.size())[mesh.get_local_rank()]


def told(value: Any, mesh: DeviceMesh) -> Any:
    """What the first process gives, on every process."""
    given = [value]
    dist.broadcast_object_list(given, dist.get_global_rank(mesh.get_group(), 0), mesh.get_group())
    return given[0]


def gathered(value: Any, mesh: DeviceMesh) -> list[Any]:
    """What every process gives, in order, on every process."""
    found: list[Any] = [None] * mesh.size()
    dist.all_gather_object(found, value, mesh.get_group())
    return found


def agree(mesh: DeviceMesh, problem: str = "", error: type[Exception] = ValueError) -> None:
    """Raise `error` on every process where one of them has a `problem`: nobody waits for a process that has failed."""
    for number, one in enumerate(gathered(problem, mesh)):
        if one:
            raise error(f"Process {number} of {mesh.size()}: {one}" if mesh.size() > 1 else one)
