"""What each process does, by name: functions (mesh, folder) that leave what they found in the folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
import torch._dynamo  # which torch would import in every process
import torch.nn.functional as F
from sharded_training import OPTIMIZERS, SCHEMA, STEPS, network, sharded, together, whole
from torch.nn.parallel import DistributedDataParallel

import zoo
from zoo import registry
from zoo.files import FileError
from zoo.inputs import Feature, TableInput
from zoo.parallel.checkpoints import ShardedCheckpoints
from zoo.parallel.saving import save

ROWS = 2_000_000


def leave(found: Any, mesh: Any, folder: Path, name: str) -> None:
    torch.save(found, folder / f"{name}-{mesh.get_local_rank()}.pt")


def trained(mesh: Any, folder: Path) -> None:
    for arch in OPTIMIZERS:
        model, optimizer = sharded(arch, mesh)
        together(model, optimizer, mesh)
        rows = {key: len(one.to_local()) for key, one in model.named_parameters() if hasattr(one, "to_local")}
        states = {
            key: [
                len(value.to_local())
                for value in optimizer.state[dict(model.named_parameters())[key]].values()
                if hasattr(value, "to_local")
            ]
            for key in rows
        }
        leave({"state": whole(model), "rows": rows, "states": states}, mesh, folder, arch)
        save(model, folder / arch)


def resumed(mesh: Any, folder: Path) -> None:
    model, optimizer = sharded("deepfm", mesh)
    checkpoints = ShardedCheckpoints(folder / "checkpoints", {"of": "deepfm"}, mesh)
    assert checkpoints.resume(model, optimizer) == 0
    for step in range(0, STEPS, 5):
        together(model, optimizer, mesh, range(step, step + 5))
        if step < 15:
            checkpoints.write(step + 5, model, optimizer)
    again, other = sharded("deepfm", mesh)
    step = checkpoints.resume(again, other)
    together(again, other, mesh, range(step, STEPS))
    leave({"step": step, "through": whole(model), "again": whole(again)}, mesh, folder, "resumed")
    try:
        ShardedCheckpoints(folder / "checkpoints", {"of": "another"}, mesh).resume(again, other)
    except ValueError as error:
        leave(str(error), mesh, folder, "another run")


def refused(mesh: Any, folder: Path) -> None:
    """Each of these fails on one process, and all must say so."""
    first, told = mesh.get_local_rank() == 0, {}
    damaged = network("deepfm")
    if not first:
        damaged.embed.tables[0].weight.data[-1] = torch.nan
    model = sharded("deepfm", mesh)[0]
    edited = sharded("deepfm", mesh)[0]
    edited.deep1.fc = torch.nn.Linear(3, 3)
    blocked = folder / "a file"
    blocked.touch()
    calls = {
        "other": lambda: zoo.shard_tables(network("deepfm" if first else "dcnv2"), mesh),
        "damaged": lambda: zoo.shard_tables(damaged, mesh),
        "edited": lambda: save(edited, folder / "edited"),
        "blocked": lambda: save(model, blocked / "below"),
        "twice": lambda: zoo.shard_tables(model, mesh),
        "plain save": lambda: zoo.save(model, folder / "plain"),
    }
    for name, call in calls.items():
        try:
            call()
        except (ValueError, FileError) as error:
            told[name] = f"{type(error).__name__}: {error}"
    leave(told, mesh, folder, "refused")
    save(model, folder / "afterwards")  # nobody is out of step


def memory(mesh: Any, folder: Path) -> None:
    """Bytes at the peak, above those before, of a fresh table and a step of Adam."""
    schema = TableInput((Feature("id", num_embeddings=ROWS, hashed=True),))
    spec = registry.spec("dcnv2", schema=schema, hidden=(8,))
    small = registry.spec("dcnv2", schema=TableInput((Feature("id", num_embeddings=99, hashed=True),)))
    zoo.shard_tables(zoo.build(small, device="meta"), mesh)  # imports what is needed
    before = _peak(reset=True)
    model = zoo.shard_tables(zoo.build(spec, device="meta"), mesh)
    fresh = _peak() - before
    ddp, optimizer = DistributedDataParallel(model.train()), torch.optim.Adam(model.parameters(), foreach=False)
    x = torch.arange(64.0, dtype=torch.float64)[:, None] * 1000
    F.binary_cross_entropy_with_logits(ddp(x), torch.ones(64, 1)).backward()
    optimizer.step()
    leave(
        {"fresh": fresh, "trained": _peak() - before, "table": model.embed.tables[0].weight.nbytes},
        mesh,
        folder,
        "memory",
    )


def loaded(mesh: Any, folder: Path) -> None:
    """Bytes that are not the mapped file's, above those before, of the own rows of a network in a file."""
    schema = TableInput((Feature("id", num_embeddings=ROWS, hashed=True),))
    model = zoo.shard_tables(zoo.build(registry.spec("dcnv2", schema=schema), device="meta"), mesh)
    save(model, folder / "large")
    before = _kib("RssAnon")
    again = zoo.shard_tables(zoo.load(folder / "large"), mesh)
    taken = 1024 * (_kib("RssAnon") - before)
    same = torch.equal(again.embed.tables[0].weight.to_local(), model.embed.tables[0].weight.to_local())
    leave({"taken": taken, "table": model.embed.tables[0].weight.nbytes, "same": same}, mesh, folder, "loaded")


def _peak(*, reset: bool = False) -> int:
    """Bytes, on Linux."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    return 1024 * _kib("VmHWM")


def _kib(field: str) -> int:
    lines = Path(f"/proc/{os.getpid()}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1])


def fresh(mesh: Any, folder: Path) -> None:
    model = zoo.shard_tables(zoo.build(registry.spec("wide_deep", schema=SCHEMA), device="meta"), mesh, seed=3)
    leave(whole(model), mesh, folder, "fresh")


def few(mesh: Any, folder: Path) -> None:
    """Two rows, on three processes."""
    schema = TableInput((Feature("price", "numeric"),))
    torch.manual_seed(0)
    plain = zoo.build(registry.spec("wide_deep", schema=schema))
    torch.nn.init.normal_(plain.wide.table.weight)
    x = torch.tensor([[1.0, 0.5], [0.0, 0.0], [1.0, -2.0]], dtype=torch.float64)
    expected = plain(x).detach()
    model = zoo.shard_tables(plain, mesh)
    rows = len(model.embed.tables[0].weight.to_local())
    leave({"rows": rows, "near": torch.allclose(model(x), expected)}, mesh, folder, "few")
    save(model, folder / "few")
