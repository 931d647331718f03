"""Predicted against measured: time and memory of training steps, by `zoo.plan`'s own parts.

    python benchmarks/planning.py one --figures planning.json
    python benchmarks/planning.py memory --figures planning.json
    python benchmarks/planning.py two --figures planning.json
    python benchmarks/planning.py show --figures planning.json

`one` is one process of one thread: rows are measured at some batches, and a plain loop, without hooks, is timed at
these and others, also with microbatches. The two take turns; figures are medians. Both are times of the processor,
which on a machine with nothing else to do is that of the clock. `memory` is the peak of a process above what it took
after a step of two examples; malloc returns what is freed. `two` are two processes of one thread each on this machine,
with gloo: replicas (DistributedDataParallel) and pipelines of two stages (torch.distributed.pipelining). Rows are
measured while both compute, since they share caches and memory; the link is measured by messages of two sizes. What
`--figures` holds already is not measured again.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import torch
import torch.distributed as dist
import typer
from torch import Tensor, nn
from torch.distributed import pipelining
from torch.nn.parallel import DistributedDataParallel

import zoo
from zoo import formatting, registry
from zoo.planning import observed
from zoo.planning.candidates import Predictor
from zoo.planning.devices import Link
from zoo.planning.observed import loss_of, optimizer_of
from zoo.planning.plan import Plan
from zoo.planning.profile import measured
from zoo.planning.search import Search, cuts_of, named
from zoo.report.timing import cpu_name

# name -> (size, [(batch, microbatches), ...]); the first batches are where rows are measured too
ONE: dict[str, tuple[int | None, list[tuple[int, int]]]] = {
    "resnet20": (None, [(64, 1), (48, 1), (64, 4)]),
    "mobilenetv2_cifar": (None, [(32, 1), (24, 1), (64, 4)]),
    "vit_cifar": (None, [(32, 1), (24, 1), (32, 4)]),
    "deeplabv3plus": (96, [(8, 1), (6, 1), (8, 4)]),
    "bert_tiny": (None, [(32, 1), (24, 1), (32, 4)]),
    "gpt2_tiny": (64, [(4, 1), (3, 1), (8, 4)]),
    "marian_tiny": (64, [(8, 1), (6, 1), (16, 4)]),
    "deepfm": (None, [(8192, 1), (6144, 1), (8192, 2)]),
}
PIPED = ("resnet20", "mobilenetv2_cifar", "vit_cifar")  # chains
TWO = {"resnet20": 64, "mobilenetv2_cifar": 32, "vit_cifar": 32, "bert_tiny": 32, "deepfm": 8192}
TAKES = 1.5  # seconds in which rows are measured
ROUNDS = 3
STATES = 2
RETURNING = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}  # glibc keeps nothing for later


def step_of(model: Any, optimizer: Any, x: Tensor, parts: int) -> Callable[[], None]:
    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        for part in x.chunk(parts):
            (loss_of(model, model(part)) / parts).backward()
        optimizer.step()

    return step


def timed(step: Callable[[], Any], seconds: float, least: int = 5) -> float:
    taken: list[float] = []
    for _ in range(2):
        step()
    began = time.perf_counter()
    while len(taken) < least or time.perf_counter() - began < seconds:
        start = observed.CLOCK()
        step()
        taken.append(observed.CLOCK() - start)
    return statistics.median(taken)


def one(name: str) -> list[dict[str, Any]]:
    size, shapes = ONE[name]
    spec = registry.spec(name)
    most = max(batch // parts for batch, parts in shapes)
    model = zoo.build(spec).train()
    optimizer = optimizer_of(model, STATES)
    inputs = [spec.input.example(batch, size) for batch, _ in shapes]
    predicted: list[list[Any]] = [[] for _ in shapes]
    taken: list[list[float]] = [[] for _ in shapes]
    for _ in range(ROUNDS):  # by turns, as the machine is not always as quick
        profile = measured(spec, most, max(1, most // 8), size=size, states=STATES, seconds=TAKES)
        for at, ((batch, parts), x) in enumerate(zip(shapes, inputs, strict=True)):
            predict = Predictor(profile, batch, Link(1e9), float("inf"))
            predicted[at].append(predict(Plan(microbatches=parts), ()))
            taken[at].append(timed(step_of(model, optimizer, x, parts), TAKES / 4, 3))
    return [
        {"network": name, "plan": f"batch {batch}" + (f" in {parts} parts" if parts > 1 else ""), "processes": 1,
         "predicted": statistics.median(one.seconds for one in found), "measured": statistics.median(times),
         "predicted_memory": found[0].memory}
        for (batch, parts), found, times in zip(shapes, predicted, taken, strict=True)
    ]  # fmt: skip


def peak_of(run: Callable[[int], object], least: int, batch: int) -> int:
    """Bytes by which a run of a batch raises this process's memory at the most, after one of the least batch."""
    status = Path("/proc/self/status")

    def field(name: str) -> int:
        (line,) = (line for line in status.read_text().splitlines() if line.startswith(f"{name}:"))
        return 1024 * int(line.split()[1])

    run(least)  # loads libraries, and makes their code
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    before = field("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    run(batch)
    return field("VmHWM") - before


def memory_of(name: str, batch: int, parts: int) -> int:
    """The peak of a step, in this process, above what it took before."""
    spec = registry.spec(name)

    def run(batch: int) -> None:
        model = zoo.build(spec).train()
        step = step_of(model, optimizer_of(model, STATES), spec.input.example(batch, ONE[name][0]), parts)
        for _ in range(2):
            step()

    return peak_of(run, 2 * parts, batch)


def peaks(rows: list[dict[str, Any]], figures: Path) -> None:
    """Measure each in a copy of this process."""
    for row in rows:
        if row["processes"] == 1 and "measured_memory" not in row:
            words = row["plan"].split()
            read, write = os.pipe()
            copy = os.fork()
            if not copy:
                os.write(write, str(memory_of(row["network"], int(words[1]), int((*words, 1, 1)[3]))).encode())
                os._exit(0)
            os.close(write)
            with os.fdopen(read) as told:
                row["measured_memory"] = int(told.read())
            os.waitpid(copy, 0)
            figures.write_text(json.dumps(rows, indent=1))


# ------------------------------------------------------------------------------------------------ two processes


class Slice(nn.Module):
    """Some rows of a chain."""

    def __init__(self, model: Any, names: tuple[str, ...]) -> None:
        super().__init__()
        self.rows = nn.ModuleList(model.get_submodule(name) for name in names)

    def forward(self, x: Tensor) -> Tensor:
        for row in self.rows:
            x = row(x)
        return x.contiguous()


def measured_link(rank: int) -> Link:
    """Of gloo between these two processes, where nothing is hidden behind work."""

    def message(size: int) -> float:
        there = torch.zeros(size // 4)

        def exchange() -> None:
            if rank:
                dist.recv(there, 0)
                dist.send(there, 0)
            else:
                dist.send(there, 1)
                dist.recv(there, 1)

        taken = []
        for _ in range(40):  # as many on both
            start = time.perf_counter()
            exchange()
            taken.append(time.perf_counter() - start)
        return statistics.median(taken) / 2

    small, large = message(4), message(4_000_000)
    found = torch.tensor([small, large])
    dist.broadcast(found, 0)
    latency, whole = found.tolist()
    return Link(4e6 / max(whole - latency, 1e-6), latency, 0.0)


def worker(rank: int, names: Sequence[str], figures: Path) -> None:
    dist.init_process_group("gloo", rank=rank, world_size=2)
    link, found = measured_link(rank), list[dict[str, Any]]()
    for name in names:
        batch = TWO[name]
        spec = registry.spec(name)
        dist.barrier()
        profile = measured(spec, batch // 2, max(1, batch // 16), states=STATES, seconds=2.5)
        profiles: list[Any] = [None, None]
        dist.all_gather_object(profiles, profile)
        predict = Predictor(profiles[0], batch, link, float("inf"))
        plans = [(Plan(data=2), predict(Plan(data=2), ()))]
        if name in PIPED:
            search = Search(predict, 2)
            for schedule, parts in (("gpipe", 4), ("1f1b", 8)):
                wanted = Plan(stages=(("0",), ("1",)), schedule=schedule, microbatches=parts)
                cuts = search.cuts(wanted)[0]
                plan = replace(wanted, stages=named(profiles[0].points[0], cuts))
                plans.append((plan, predict(plan, cuts)))
        for plan, predicted in plans:
            torch.manual_seed(0)
            dist.barrier()
            step = replicas(spec, batch) if plan.data == 2 else piped(spec, plan, rank, batch)
            seconds = _together(step)
            found.append(
                {"network": name, "plan": f"batch {batch}, {plan.words}", "processes": 2, "cuts": cuts_of(plan),
                 "predicted": predicted.seconds, "measured": seconds, "predicted_memory": predicted.memory}
            )  # fmt: skip
    if rank == 0:
        add(figures, found)
    dist.destroy_process_group()


def _together(step: Callable[[], Any], steps: int = 10) -> float:
    """The median of as many steps on both processes."""
    taken = []
    for _ in range(steps + 2):
        dist.barrier()
        start = time.perf_counter()
        step()
        dist.barrier()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken[2:])


def replicas(spec: Any, batch: int) -> Callable[[], None]:
    model = zoo.build(spec).train()
    network = DistributedDataParallel(model)
    return step_of(_Named(network, spec), optimizer_of(model, STATES), spec.input.example(batch // 2), 1)


class _Named:
    """DDP's wrapper with the spec that a loss follows from."""

    def __init__(self, network: Any, spec: Any) -> None:
        self.network, self.spec = network, spec

    def __call__(self, x: Tensor) -> Any:
        return self.network(x)


def piped(spec: Any, plan: Plan, rank: int, batch: int) -> Callable[[], None]:
    model = zoo.build(spec).train()
    part = Slice(model, plan.stages[rank])
    stage = pipelining.PipelineStage(part, rank, 2, torch.device("cpu"))
    kind = pipelining.ScheduleGPipe if plan.schedule == "gpipe" else pipelining.Schedule1F1B

    def loss(out: Tensor, target: Tensor) -> Tensor:
        return loss_of(model, out)

    schedule = kind(stage, plan.microbatches, loss_fn=loss)
    optimizer, x = optimizer_of(part, STATES), spec.input.example(batch)
    target = torch.zeros(batch, dtype=torch.int64)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        if rank == 0:
            schedule.step(x)
        else:
            schedule.step(target=target)
        optimizer.step()

    return step


# ------------------------------------------------------------------------------------------------ figures


def known(figures: Path) -> list[dict[str, Any]]:
    return json.loads(figures.read_text()) if figures.exists() else []


def add(figures: Path, more: list[dict[str, Any]]) -> None:
    figures.write_text(json.dumps(known(figures) + more, indent=1))


def error(row: dict[str, Any], of: str = "") -> float:
    return row[f"predicted{of}"] / row[f"measured{of}"] - 1


def show(rows: list[dict[str, Any]]) -> None:
    table = [
        [row["network"], row["plan"], f"{1e3 * row['measured']:.1f}", f"{1e3 * row['predicted']:.1f}",
         f"{error(row):+.1%}", formatting.size(row["measured_memory"]) if "measured_memory" in row else "",
         f"{error(row, '_memory'):+.1%}" if "measured_memory" in row else ""]
        for row in rows
    ]  # fmt: skip
    headers = ("network", "plan", "measured\nms", "predicted\nms", "error", "memory", "error\nof it")
    print(formatting.text(headers, table))
    for processes in (1, 2):
        errors = [abs(error(row)) for row in rows if row["processes"] == processes]
        if errors:
            told = f"{processes} process{'es' * (processes > 1)}: {len(errors)} steps"
            print(f"{told}, error of the median {statistics.median(errors):.1%}, of the worst {max(errors):.1%}")
    errors = [abs(error(row, "_memory")) for row in rows if "measured_memory" in row]
    if errors:
        print(f"memory: error of the median {statistics.median(errors):.1%}, of the worst {max(errors):.1%}")
    print(f"{cpu_name()}, one thread a process, torch {torch.__version__}")


def main(
    part: Annotated[str, typer.Argument(help="one, memory, two or show.")],
    names: Annotated[list[str] | None, typer.Argument(help="Networks. Default: all.")] = None,
    figures: Annotated[Path, typer.Option(help="JSON.")] = Path("planning.json"),
) -> None:
    torch.set_num_threads(1)
    rows = known(figures)
    if part == "one":
        observed.CLOCK = time.process_time
        for name in names or list(ONE):
            if not any(row["network"] == name and row["processes"] == 1 for row in rows):
                add(figures, one(name))
    elif part == "memory":
        command = [sys.executable, __file__, "peaks", "--figures", str(figures)]
        subprocess.run(command, check=True, env={**os.environ, **RETURNING})
    elif part == "peaks":
        peaks(rows, figures)
    elif part == "worker":
        rank, *names = names or ()
        worker(int(rank), names, figures)
    elif part == "two":
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        there = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
        base = [sys.executable, __file__, "worker"]
        wanted = [name for name in names or TWO if not any(r["network"] == name and r["processes"] == 2 for r in rows)]
        both = [subprocess.Popen([*base, str(rank), *wanted, "--figures", str(figures)], env=there) for rank in (0, 1)]
        if wanted and sum(one.wait() for one in both):
            raise SystemExit("a process failed")
    show(known(figures)) if part not in ("peaks", "worker") else None


if __name__ == "__main__":
    typer.run(main)
