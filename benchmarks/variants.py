"""Every shipped variant of a network in every runtime, beside OpenVINO's own int8 of the dense network (by NNCF).

    python benchmarks/variants.py                 # mobilenet and resnet, batch 1 and 32
    python benchmarks/variants.py efficientnet --batch 1

Needs openvino, nncf, onnx, onnxscript, onnxruntime and executorch; what is missing is left out, and said. One process
for each batch, contenders by turns, medians; accuracies are the manifest's, of torch's own execution. NNCF's answers
are not checked; on x86 without VNNI its products saturate, and the zoo's networks stand beside it a second time, run in
the same way, "unchecked": what they take where nothing saturates.
"""

from __future__ import annotations

import shutil
import sys
import warnings
from collections.abc import Callable
from typing import Annotated, Any

import torch
import typer
from contenders import Case, folder, openvino_nncf

import zoo
from zoo import formatting
from zoo.report.timing import cpu_name, median_times
from zoo.runtime.choose import there_for

VARIANTS = ("int8", "pruned", "pruned-int8", "distilled")
MOST_LOST = 1.0  # points of top-1


def runs_of(name: str, batch: int, without: list[str], where: Any) -> dict[tuple[str, str], Callable[..., Any]]:
    """(variant, runtime) to a function of inputs; the first is the base."""
    dense = zoo.create(name)
    shape = (batch, dense.spec.input.channels, *dense.spec.input.size)
    pictures = zoo.preprocess(dense)(zoo.samples("cifar10").images[:64])
    base = openvino_nncf(Case(dense, pictures, torch.zeros(shape), torch.get_num_threads(), where))
    found: dict[tuple[str, str], Callable[..., Any]] = {("dense, NNCF's int8", "openvino"): base}
    for variant in VARIANTS:
        model = zoo.create(f"{name}-{variant}")
        for runtime in (one for one in there_for(model) if one not in without):
            found[variant, runtime] = zoo.to_runtime(model, runtime, cache_dir=where)
        if getattr(found.get((variant, "openvino")), "exact", False):
            found[variant, "openvino, unchecked"] = unchecked = zoo.to_runtime(model, "openvino", cache_dir=where)
            unchecked.exact, unchecked._compared = False, True
    return found


def main(
    names: Annotated[list[str] | None, typer.Argument(help="Families that ship; default: mobilenet, resnet.")] = None,
    batch: Annotated[list[int] | None, typer.Option(help="Default: 1 and 32.")] = None,
    threads: Annotated[int, typer.Option()] = 2,
    without: Annotated[list[str] | None, typer.Option(help="Runtimes to leave out.")] = None,
    seconds: Annotated[float, typer.Option(help="For each table.")] = 60.0,
) -> None:
    warnings.filterwarnings("ignore")
    torch.set_num_threads(threads)
    for name in names or ["mobilenet", "resnet"]:
        top = {one: zoo.info(name if one == "dense" else f"{name}-{one}").metric.value for one in ("dense", *VARIANTS)}
        for many in batch or [1, 32]:
            where = folder()
            try:
                runs = runs_of(name, many, without or [], where)
                x = torch.randn(many, 3, 32, 32, generator=torch.Generator().manual_seed(0))
                times, rounds = median_times(list(runs.values()), [x] * len(runs), seconds=seconds, rounds=(20, 400))
            finally:
                shutil.rmtree(where, ignore_errors=True)
            rows = [
                [variant, runtime, f"{1e3 * time:.2f}", f"{times[0] / time:.2f}x", _lost(top, variant)]
                for (variant, runtime), time in zip(runs, times, strict=True)
            ]
            near = [
                (times[0] / time, f"{variant} in {runtime}")
                for (variant, runtime), time in zip(runs, times, strict=True)
                if variant in top and top["dense"] - top[variant] <= MOST_LOST
            ]
            print(
                formatting.text(
                    [f"{name}, batch {many}", "runtime", "ms\na call", "times\nas fast", "points\nlost"], rows
                )
            )
            print(f"\nWithin {MOST_LOST:g} point: {max(near)[1]}, {max(near)[0]:.2f}x. {rounds} rounds.\n", flush=True)
    print(f"{cpu_name()}, {threads} threads, torch {torch.__version__}.", file=sys.stdout)


def _lost(top: dict[str, float], variant: str) -> str:
    return f"{top['dense'] - top[variant]:.2f}" if variant in top else ""


if __name__ == "__main__":
    typer.run(main)
