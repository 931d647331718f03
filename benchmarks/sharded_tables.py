"""Time and memory of training a recommender against rows, features and processes, and a plot.

    python benchmarks/sharded_tables.py --figures sharded.json --out docs/sharded-tables.png

DCN V2 with vectors of 16, Adam, a batch of 1,024 rows of all processes together, one thread a process, on one machine.
One process trains the plain network; several share its tables (`zoo.shard_tables`) and average the rest
(DistributedDataParallel). Time is that of the quickest of five steps. Memory is the most that a process takes at its
peak above what it took before the network. What `--figures` holds already is not measured again.
"""

from __future__ import annotations

import gc
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import torch
import torch.nn.functional as F
import typer
from torch.nn.parallel import DistributedDataParallel

import zoo
from zoo import formatting, registry
from zoo.inputs import Feature, TableInput
from zoo.parallel.gradients import mean
from zoo.parallel.processes import gathered, part, processes
from zoo.report.timing import cpu_name

ROWS, FEATURES, PROCESSES = (100_000, 1_000_000, 10_000_000), (4, 16, 64), (1, 2, 4)
BATCH, DIM, STEPS = 1024, 16, 5
MILLION = 1_000_000
Shape = tuple[int, int]  # rows, features


def spec(rows: int, features: int) -> Any:
    each = rows // features
    schema = TableInput(tuple(Feature(f"f{at}", num_embeddings=each, hashed=True) for at in range(features)))
    return registry.spec("dcnv2", schema=schema, dim=DIM)


def trained(rows: int, features: int, mesh: Any, steps: int) -> list[float]:
    """Seconds of each step."""
    model: Any
    if mesh is None:
        model = network = zoo.build(spec(rows, features)).train()
    else:
        model = zoo.shard_tables(zoo.build(spec(rows, features), device="meta"), mesh).train()
        network = DistributedDataParallel(model)
    optimizer, taken = torch.optim.Adam(model.parameters(), 1e-3), []
    for step in range(steps):
        draw = torch.Generator().manual_seed(step)
        x = torch.randint(rows // features, (BATCH, features), generator=draw).double()
        y = torch.randint(2, (BATCH,), generator=draw).float()
        if mesh is not None:
            x, y = part(x, mesh), part(y, mesh)
            gathered(None, mesh)  # all begin together
        start = time.perf_counter()
        optimizer.zero_grad()
        losses = F.binary_cross_entropy_with_logits(network(x).squeeze(1), y, reduction="none")
        (losses.mean() if mesh is None else mean(losses, BATCH, mesh)).backward()
        optimizer.step()
        if mesh is not None:
            gathered(None, mesh)
        taken.append(time.perf_counter() - start)
    return taken


def kib(field: str) -> int:
    """Of this process, on Linux."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1])


def measured(shapes: Sequence[Shape]) -> None:
    """Print {"rows/features/processes": {"seconds": ..., "bytes": ...}} of each: of a step, and of the process that
    takes most."""
    torch.set_num_threads(1)
    with ExitStack() as stack:
        mesh = stack.enter_context(processes()) if "WORLD_SIZE" in os.environ else None
        trained(1000, 4, mesh, 2)  # what is imported at first use
        for rows, features in shapes:
            gc.collect()  # DistributedDataParallel is in cycles
            Path("/proc/self/clear_refs").write_text("5")
            before = kib("VmRSS")
            seconds = min(trained(rows, features, mesh, STEPS + 1)[1:])
            taken = 1024 * (kib("VmHWM") - before)
            found = [taken] if mesh is None else gathered(taken, mesh)
            key = f"{rows}/{features}/{len(found)}"
            if mesh is None or mesh.get_local_rank() == 0:
                print(json.dumps({key: {"seconds": seconds, "bytes": max(found)}}), flush=True)


def launched(shapes: Sequence[Shape], count: int) -> Iterator[dict[str, Any]]:
    """What `measured` prints on `count` processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    together = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)} if count > 1 else {}
    started = [
        subprocess.Popen(
            [sys.executable, __file__, "--one", json.dumps(shapes)],
            stdout=subprocess.PIPE,
            env={**os.environ, **together, "RANK": str(rank), "OMP_NUM_THREADS": "1"},
        )
        for rank in range(count)
    ]
    assert started[0].stdout is not None
    for line in started[0].stdout:
        yield json.loads(line)
    assert all(one.wait() == 0 for one in started)


def main(
    figures: Annotated[Path, typer.Option(help="JSON of what was measured; it is added to.")] = Path("sharded.json"),
    out: Annotated[Path | None, typer.Option(help="The PNG file to write.")] = None,
    one: Annotated[str, typer.Option(hidden=True)] = "",
) -> None:
    if one:
        measured(json.loads(one))
        return
    found = json.loads(figures.read_text()) if figures.exists() else {"cpu": cpu_name(), "torch": torch.__version__}
    shapes: list[Shape] = [(rows, FEATURES[1]) for rows in ROWS]
    shapes += [(MILLION, features) for features in FEATURES if (MILLION, features) not in shapes]
    for count in PROCESSES:
        missing = [(rows, features) for rows, features in shapes if f"{rows}/{features}/{count}" not in found]
        for figure in launched(missing, count) if missing else ():
            found |= figure
            figures.write_text(json.dumps(found, indent=1))
    lines = []
    for rows, features in shapes:
        for count in PROCESSES:
            figure = found[f"{rows}/{features}/{count}"]
            told = f"{1000 * figure['seconds']:.1f}", f"{figure['bytes'] / 1e6:,.0f}"
            lines.append([f"{rows:,}", str(features), str(count), *told])
    print(formatting.text(["rows", "features", "processes", "ms a step", "MB a process"], lines))
    if out is not None:
        draw(found, out)


def draw(found: dict[str, Any], out: Path) -> None:
    import io

    import matplotlib as mpl
    from PIL import Image

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    plt.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    figure, panels = plt.subplots(2, 2, figsize=(8, 5.6), sharex="col")
    colours = {1: "#444444", 2: "#1f6fb4", 4: "#c8511b"}
    for line, (what, unit, scale) in zip(
        panels, (("seconds", "ms a step", 1e3), ("bytes", "MB a process", 1e-6)), strict=True
    ):
        for panel, across in zip(line, (ROWS, FEATURES), strict=True):
            for count in PROCESSES:
                keys = [f"{at}/{FEATURES[1]}/{count}" if across is ROWS else f"{MILLION}/{at}/{count}" for at in across]
                label = f"{count} process{'es' if count > 1 else ''}"
                panel.plot(across, [scale * found[key][what] for key in keys], "o-", color=colours[count], label=label)
            panel.set_xscale("log")
            if across is ROWS:
                panel.set_yscale("log")
            else:
                panel.set_ylim(bottom=0)
            panel.grid(alpha=0.15)
        line[0].set_ylabel(unit)
    panels[1][0].set_xlabel(f"rows of the tables ({FEATURES[1]} features)")
    panels[1][1].set_xlabel("features (1,000,000 rows)")
    panels[1][1].set_xticks(FEATURES, list(map(str, FEATURES)))
    panels[1][1].minorticks_off()
    panels[0][0].legend(frameon=False)
    figure.suptitle(
        f"DCN V2, vectors of {DIM}, Adam, batch {BATCH:,}: PyTorch {found['torch']}, {found['cpu']}, two cores",
        fontsize=9,
        color="#444444",
    )
    figure.tight_layout()
    picture = io.BytesIO()
    figure.savefig(picture, dpi=110, facecolor="white")
    Image.open(picture).convert("RGB").quantize(32).save(out, optimize=True)


if __name__ == "__main__":
    typer.run(main)
