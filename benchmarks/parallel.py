"""Two processes of one thread against one: data parallel ResNet-20, and a pipeline of ResNet-56 in two stages.

    python benchmarks/parallel.py

Batch 128 of CIFAR's size, SGD, the whole step with augmentation and clipping, as `zoo finetune` computes it. A time is
the median of the steps behind two that warm up, on the machine that prints it; nothing else should run there.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from typing import Annotated

import torch
import typer

from zoo import formatting, registry
from zoo.model.build import build
from zoo.parallel.launch import strategy_of
from zoo.report.timing import cpu_name
from zoo.train.memory import kept_memory
from zoo.train.objective import Supervised
from zoo.train.optim import make_optimizer
from zoo.train.recipe import Recipe

BATCH, WARM = 128, 2
CASES: dict[str, tuple[str, str | None, dict[str, object]]] = {
    "resnet20": ("resnet20", None, {}),
    "resnet20, data, 2 processes": ("resnet20", "data", {}),
    "resnet56": ("resnet56", None, {}),
    "resnet56, pipeline, 2 stages, 8 microbatches": (
        "resnet56",
        "pipeline",
        {"stages": 2, "pipeline_schedule": "1f1b", "microbatches": 8},
    ),
}


def timed(case: str, steps: int) -> None:
    """Print the seconds of a step, on the first process."""
    name, parallel, options = CASES[case]
    torch.set_num_threads(1)
    recipe = Recipe(batch_size=BATCH, optimizer="sgd", learning_rate=0.05)
    torch.manual_seed(0)
    model = build(registry.spec(name))
    images = torch.randint(0, 256, (BATCH, 32, 32, 3), dtype=torch.uint8)
    labels = torch.randint(0, 10, (BATCH,))
    with strategy_of(parallel, **options) as strategy, kept_memory():  # type: ignore[arg-type]
        objective = Supervised(model, recipe)
        objective.prepare(model)
        model, network = strategy.wrapped(model, recipe)
        optimizer = make_optimizer(model, recipe)
        own, taken = strategy.share(torch.arange(BATCH)), []
        for step in range(steps + WARM):
            began = time.perf_counter()
            strategy.begin(step + 1)
            optimizer.zero_grad()
            loss, _ = strategy.gradients(objective, network, (images[own], labels[own]))
            strategy.mean(loss)
            strategy.clip(model.parameters(), recipe.clip)
            optimizer.step()
            strategy.any(False, False)
            taken.append(time.perf_counter() - began)
        if strategy.first:
            print(statistics.median(taken[WARM:]), flush=True)


def main(
    steps: Annotated[int, typer.Option(help="Steps that are timed.")] = 10,
    case: Annotated[str, typer.Option(hidden=True)] = "",
) -> None:
    if case:
        timed(case, steps)
        return
    found = {}
    for one, (_, parallel, _) in CASES.items():
        many = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"] if parallel else []
        done = subprocess.run(
            [sys.executable, *many, __file__, "--steps", str(steps), "--case", one],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        found[one] = float(done.stdout.split()[-1])
    rows = [[one, f"{1000 * seconds:.0f}", f"{found[CASES[one][0]] / seconds:.2f}"] for one, seconds in found.items()]
    print(cpu_name())
    print(formatting.text(["training", "ms a step", "times one process"], rows))


if __name__ == "__main__":
    typer.run(main)
