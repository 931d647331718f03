"""The processes of a run: those that torchrun started, or one alone. What one of them refuses, all refuse."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

AXIS = "dp"  # the data-parallel axis of a mesh
SECONDS = 600.0  # that a process waits for the others


@contextmanager
def processes(*, seconds: float = SECONDS, device: str = "cpu") -> Iterator[DeviceMesh]:
    """The processes that torchrun started, or this one alone, as a mesh with the one axis "dp".

    They talk by gloo, on GPUs by NCCL. A process that fails leaves the others waiting, for `seconds` at most.

    Args:
        seconds (float): how long a process waits for the others before it fails. Default: 600.0.
        device (str): "cpu", or "cuda" for the GPU of this process's number on its host. Default: "cpu".

    Yields:
        The mesh.

    Example:
        >>> from zoo.parallel.processes import processes
        >>> with processes() as mesh:
        ...     mesh.size()
        1
    """
    with joined(seconds, device) as (mesh, _):
        yield mesh


@contextmanager
def joined(seconds: float, device: str) -> Iterator[tuple[DeviceMesh, Any]]:
    """(the mesh of `processes`, a store that all of them reach)."""
    wait = timedelta(seconds=seconds)
    if "WORLD_SIZE" in os.environ:
        store, rank, size = next(dist.rendezvous("env://", timeout=wait))  # type: ignore[attr-defined]
        # torchrun keeps one store for all attempts: without a prefix, a restarted run would meet the dead one.
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        store = dist.PrefixStore(f"attempt{attempt}", store)  # type: ignore[attr-defined]
    else:
        store, rank, size = dist.HashStore(), 0, 1  # type: ignore[attr-defined]
    backend = "gloo"
    if device == "cuda":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        backend = "cpu:gloo,cuda:nccl"
    dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=wait)
    try:
        yield init_device_mesh(device, (dist.get_world_size(),), mesh_dim_names=(AXIS,)), store
    finally:
        dist.destroy_process_group()


def launched() -> bool:
    """Whether torchrun, or something like it, started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


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


def compare(mesh: DeviceMesh, run_id: Mapping[str, Any]) -> None:
    """Raise ValueError on every process where one has another run than the first one, saying which and in what."""
    runs = gathered(_flat(run_id), mesh)
    for number, one in enumerate(runs):
        if differing := sorted(key for key in {*one, *runs[0]} if one.get(key) != runs[0].get(key)):
            raise ValueError(
                f"Process {number} of {mesh.size()} has another run than process 0: it differs in "
                f"{', '.join(differing)}. Give all processes the same command and the same data."
            )


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values by their names; those of a mapping inside by dotted names."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= {f"{key}.{k}": v for k, v in value.items()} if isinstance(value, Mapping) else {key: value}
    return flat
