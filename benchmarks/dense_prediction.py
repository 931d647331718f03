"""The table of docs/dense-prediction.md: accuracy, megabytes and milliseconds of every shipped form.

    python benchmarks/dense_prediction.py                     # the segmenter and the detector, batch 1
    python benchmarks/dense_prediction.py gfl_pan --batch 8 --threads 1

Times are of a call with one picture of the network's own size, a detector's decoding and suppression included. All
forms in all runtimes take turns in one process, medians; a runtime that is not installed is left out. The accuracy is
the manifest's, measured in torch.
"""

from __future__ import annotations

import warnings
from typing import Annotated

import torch
import typer

import zoo
from zoo import formatting
from zoo.report.timing import cpu_name, median_times
from zoo.runtime.choose import there_for

FORMS = ("dense", "distilled", "int8", "sparse", "pruned", "pruned-int8")


def main(
    names: Annotated[list[str] | None, typer.Argument(help="Default: deeplabv3plus, gfl_pan.")] = None,
    batch: int = 1,
    threads: int = 2,
    seconds: Annotated[float, typer.Option(help="For each network.")] = 60.0,
) -> None:
    warnings.filterwarnings("ignore")
    torch.set_num_threads(threads)
    for name in names or ["deeplabv3plus", "gfl_pan"]:
        models = {form: zoo.create(name if form == "dense" else f"{name}-{form}") for form in FORMS}
        runs = {
            (form, runtime): zoo.to_runtime(model, runtime)
            for form, model in models.items()
            for runtime in there_for(model)
        }
        x = models["dense"].spec.input.example(batch)
        times, rounds = median_times(list(runs.values()), [x] * len(runs), seconds=seconds, rounds=(9, 200))
        taken = dict(zip(runs, times, strict=True))
        runtimes = list(dict.fromkeys(runtime for _, runtime in runs))
        print(formatting.text(_heads(name, runtimes), [_row(name, form, runtimes, taken) for form in FORMS]))
        print(
            f"{rounds} rounds, batch {batch}, {threads} threads, {cpu_name()}, torch {torch.__version__}\n", flush=True
        )


def _heads(name: str, runtimes: list[str]) -> list[str]:
    metric = zoo.info(name).metric
    others = [f"{other}\n%" for other in metric.metrics]
    return [name, f"{metric.name}\n%", *others, "MB", "GMACs", *(f"{runtime}\nms" for runtime in runtimes)]


def _row(name: str, form: str, runtimes: list[str], taken: dict[tuple[str, str], float]) -> list[str]:
    """Milliseconds, and in brackets how many times as fast as the dense network in the same runtime."""
    entry = zoo.info(name if form == "dense" else f"{name}-{form}")
    figures = [f"{value:.2f}" for value in (entry.metric.value, *entry.metric.metrics.values())]
    cells = []
    for runtime in runtimes:
        time, dense = taken.get((form, runtime)), taken.get(("dense", runtime))
        cells.append("" if time is None else f"{1e3 * time:.2f}" + (f" ({dense / time:.2f}x)" if dense else ""))
    return [form, *figures, f"{entry.bytes / 1e6:.2f}", f"{entry.macs / 1e9:.2f}", *cells]


if __name__ == "__main__":
    typer.run(main)
