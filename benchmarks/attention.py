"""Time and memory of full, sliding and linear attention against length, and a plot.

    python benchmarks/attention.py --out docs/attention.png

One layer of 4 heads of 64, batch 1, causal, in float32; by turns in one process, medians. Memory is what a call takes
at its peak above the process before it, in a process of its own.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

import torch
import typer

from zoo import formatting
from zoo.blocks import Attention
from zoo.report.timing import cpu_name

LENGTHS = (512, 1024, 2048, 4096, 8192, 16384)
KINDS = {"full": {}, "sliding, 256": {"attention": "sliding", "window": 256}, "linear": {"attention": "linear"}}
DIM, HEADS = 256, 4


def layer(kind: str) -> Attention:
    return Attention(dim=DIM, heads=HEADS, causal=True, **KINDS[kind]).eval()


def seconds(rounds: int) -> dict[str, list[float]]:
    layers = {kind: layer(kind) for kind in KINDS}
    found: dict[str, list[float]] = {kind: [] for kind in KINDS}
    with torch.inference_mode():
        for length in LENGTHS:
            x, taken = torch.randn(1, length, DIM), {kind: [] for kind in KINDS}
            for turn in range(rounds + 1):
                for kind, one in layers.items():
                    start = time.perf_counter()
                    one(x)
                    if turn:
                        taken[kind].append(time.perf_counter() - start)
            for kind, times in taken.items():
                found[kind].append(statistics.median(times))
    return found


def peak(kind: str, length: int) -> int:
    """Bytes, on Linux."""
    status = Path("/proc/self/status")

    def kib(field: str) -> int:
        return int(next(line for line in status.read_text().splitlines() if line.startswith(field)).split()[1])

    one, x = layer(kind), torch.randn(1, length, DIM)
    with torch.inference_mode():
        one(x[:, :64])
        Path("/proc/self/clear_refs").write_text("5")
        before = kib("VmRSS")
        one(x)
    return 1024 * max(0, kib("VmHWM") - before)


def peak_in_child(kind: str, length: int) -> int:
    asked = [sys.executable, __file__, "--one", f"{kind}/{length}"]
    return int(subprocess.run(asked, capture_output=True, check=True).stdout)


def main(
    out: Annotated[Path | None, typer.Option(help="Where to draw.")] = None,
    rounds: int = 7,
    one: Annotated[str, typer.Option(hidden=True)] = "",
) -> None:
    torch.manual_seed(0)
    if one:
        kind, length = one.split("/")
        print(peak(kind, int(length)))
        return
    times = seconds(rounds)
    memory = {kind: [peak_in_child(kind, length) for length in LENGTHS] for kind in KINDS}
    rows = [
        [f"{length:,}", *(f"{1e3 * times[kind][i]:.1f} ms  {formatting.size(memory[kind][i])}" for kind in KINDS)]
        for i, length in enumerate(LENGTHS)
    ]
    facts = f"{cpu_name()}, {torch.get_num_threads()} threads, torch {torch.__version__}"
    print(formatting.text(["tokens", *KINDS], rows))
    print(f"\nCausal, {HEADS} heads of {DIM // HEADS}, batch 1, medians of {rounds} turns. {facts}.")
    if out is not None:
        plot(times, memory, facts, out)


def plot(times: dict[str, list[float]], memory: dict[str, list[int]], facts: str, file: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    for kind in KINDS:
        left.loglog(LENGTHS, [1e3 * one for one in times[kind]], marker="o", label=kind)
        right.loglog(LENGTHS, [one / 1e6 for one in memory[kind]], marker="o", label=kind)
    for axis, label in ((left, "ms a call"), (right, "MB at the peak")):
        axis.set_xlabel("tokens")
        axis.set_ylabel(label)
        axis.set_xticks(LENGTHS, [str(length) for length in LENGTHS], minor=False)
        axis.grid(alpha=0.3)
        axis.legend()
    figure.suptitle(f"Causal attention, {HEADS} heads of {DIM // HEADS}, batch 1. {facts}", fontsize=9)
    figure.savefig(file, dpi=90)


if __name__ == "__main__":
    typer.run(main)
