"""Lookups in one large embedding table, int8 beside float32: time, memory, and what loading takes.

    python benchmarks/embedding_tables.py --rows 10000000 --threads 2

Both networks are saved and loaded, so that both tables are mapped from files, and read once, so that no lookup waits
for the disk. Every call asks for other rows. The ways take turns in random order, and medians are shown. Needs 5 bytes
of disk for each value, and as much memory.
"""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import torch
import torch.nn as nn
import torch.nn.functional as F
import typer
from torch import Tensor

import zoo
from zoo import formatting, registry
from zoo.inputs import Feature, TableInput
from zoo.report.timing import cpu_name

BATCHES = {1: (200, 20), 256: (100, 4), 4096: (40, 1), 32_768: (20, 1)}  # batch -> rounds, calls of each


def main(
    rows: int = 10_000_000,
    width: int = 64,
    threads: int = 2,
    mapped: Annotated[bool, typer.Option(help="Leave the tables in their files, or copy them to memory.")] = True,
    folder: Annotated[Path | None, typer.Option(help="Where the networks are kept. Default: nowhere.")] = None,
) -> None:
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as temporary:
        places = prepared(folder or Path(temporary), rows, width)
        models: dict[str, Any] = {}
        zoo.load(places["int8"])(torch.zeros(1, 1, dtype=torch.float64))  # imports, and torch's own memory
        for name, place in places.items():
            before, start = anonymous(), time.perf_counter()
            models[name] = zoo.load(place, mmap=mapped)
            took, more = time.perf_counter() - start, anonymous() - before
            held = sum(one.nbytes for one in models[name].embed.tables[0].state_dict().values())
            told = f"table {formatting.size(held)}, loaded in {1000 * took:.0f} ms, {formatting.size(max(0, more))}"
            print(f"{name}: {told} of memory that is no file's", flush=True)
        compare(models, rows)
    where = f"{'mapped' if mapped else 'in memory'}, {threads} threads, {cpu_name()}, torch {torch.__version__}"
    print(f"\nMicroseconds a call. {rows:,} x {width}, {where}.")


def prepared(folder: Path, rows: int, width: int) -> dict[str, Path]:
    """Name -> the folder of a network with that table, made if it is not there."""
    places = {name: folder / name for name in ("float32", "int8")}
    if not all((place / "model.safetensors").exists() for place in places.values()):
        schema = TableInput((Feature("id", num_embeddings=rows, hashed=True),))
        dense: Any = zoo.build(registry.spec("deepfm", schema=schema, dim=width, hidden=(8,)))
        nn.init.normal_(dense.wide.table.weight)  # zeros would be stored as bits, which are not mapped
        zoo.save(dense, places["float32"])
        zoo.save(zoo.compress(dense, "int8", calibration=schema.example(64)), places["int8"])
    return places


def ways(models: dict[str, Any]) -> dict[str, Callable[[Tensor], Tensor]]:
    """How rows (B,) are looked up; the first is the one of int8."""
    int8, weight = models["int8"].embed.tables[0], models["float32"].embed.tables[0].weight.detach()
    starts = {batch: torch.arange(batch) for batch in BATCHES}
    return {
        "int8": int8,
        "F.embedding": lambda asked: F.embedding(asked, weight),
        "nn.Embedding": nn.Embedding.from_pretrained(weight),
        "F.embedding_bag": lambda asked: F.embedding_bag(asked, weight, starts[len(asked)], mode="sum"),
    }


def compare(models: dict[str, Any], rows: int) -> None:
    for model in models.values():
        for held in model.embed.tables[0].state_dict().values():
            held.view(torch.uint8).view(-1)[::1024].sum()
    generator, found = torch.Generator().manual_seed(0), ways(models)
    cells = []
    for batch, (rounds, calls) in BATCHES.items():
        times: dict[str, list[float]] = {name: [] for name in found}
        for _ in range(rounds):
            for name in random.sample(list(found), len(found)):
                asked = [torch.randint(rows, (batch,), generator=generator) for _ in range(calls)]
                times[name].append(timed(found[name], asked))
        taken = {name: 1e6 * statistics.median(one) for name, one in times.items()}
        best = min(time for name, time in taken.items() if name != "int8")
        shown = [f"{time:,.1f}" for time in taken.values()]
        cells.append(
            [f"{batch:,}", *shown, f"{taken['F.embedding'] / taken['int8']:.2f}", f"{best / taken['int8']:.2f}"]
        )
    print(formatting.text(["batch", *found, "times as fast\nas F.embedding", "times as fast\nas the best"], cells))


def timed(lookup: Callable[[Tensor], Tensor], asked: list[Tensor]) -> float:
    """Seconds of a call."""
    with torch.inference_mode():
        start = time.perf_counter()
        for one in asked:
            lookup(one)
        return (time.perf_counter() - start) / len(asked)


def anonymous() -> int:
    """Bytes of this process that are no file's; 0 where the system does not say."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon")), 0)


if __name__ == "__main__":
    typer.run(main)
