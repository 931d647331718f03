"""int8 and fused float32 networks of the zoo beside what else there is, in one process, by turns.

    python benchmarks/int8.py                    # everything: some two hours, most of it other libraries' compilers
    python benchmarks/int8.py --without compile  # without those
    python benchmarks/int8.py --only resnet18 --size 224 --threads 2

Needs timm, torchvision, openvino, nncf, onnx, onnxscript, onnxruntime, executorch, torchao and a C++ compiler; what is
missing is left out, and said. Writes a table and a plot where `--out` says. Ratios are times over timm's float32
network in channels_last, in the same run.
"""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import time
import warnings
from itertools import product
from pathlib import Path
from typing import Annotated

import timm
import torch
import torch.nn as nn
import typer
from contenders import BASE, CONTENDERS, PYTORCH, Case, folder

from zoo import tables
from zoo.blocks.int8 import onednn
from zoo.measure import cpu_name

NETWORKS = {"mobilenetv2_100": 32, "tf_efficientnet_lite0": 32, "resnet18": 32, "resnet50": 16}
LEAST, MOST, SECONDS = 7, 60, 25.0


def network(name: str) -> nn.Module:
    """timm's, with random weights and statistics that no channel shares."""
    torch.manual_seed(0)
    made = timm.create_model(name).eval()
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.normal_(module.running_mean, 0.0, 0.1)
    return made


def measured(name: str, batch: int, threads: int, size: int, without: str) -> dict[str, float]:
    """Median milliseconds a call of each contender, by turns: a pause, a call that does not count, one that does."""
    warnings.filterwarnings("ignore")
    torch.set_num_threads(threads)
    generator = torch.Generator().manual_seed(0)
    calibration = torch.randn(8, 3, size, size, generator=generator)
    x = torch.randn(batch, 3, size, size, generator=generator).contiguous(memory_format=torch.channels_last)
    case = Case(network(name), calibration, x, threads, folder())
    runs, taken = {}, {}
    try:
        with torch.inference_mode():
            for title, make in CONTENDERS.items():
                if without and any(word in title for word in without.split(",")):
                    continue
                try:
                    with torch.inference_mode(False), torch.no_grad():
                        run = make(case)
                    given = x.contiguous() if title == "timm float32" else x
                    run(given), run(given)
                    runs[title] = (run, given)
                    taken[title] = []
                except Exception as error:
                    print(f"{name}: {title} left out: {type(error).__name__}: {str(error)[:150]!r}", file=sys.stderr)
            began = time.perf_counter()
            while True:
                for title, (run, given) in runs.items():
                    time.sleep(0.002)
                    run(given)
                    start = time.perf_counter()
                    run(given)
                    taken[title].append(time.perf_counter() - start)
                rounds = len(taken[BASE])
                if rounds >= MOST or (rounds >= LEAST and time.perf_counter() - began > SECONDS):
                    break
    finally:
        shutil.rmtree(case.folder, ignore_errors=True)
    return {title: 1e3 * statistics.median(times) for title, times in taken.items()}


def main(
    only: Annotated[list[str] | None, typer.Option(help="Networks; default: all.")] = None,
    threads: Annotated[list[int] | None, typer.Option()] = None,
    batch: Annotated[list[int] | None, typer.Option(help="Default: 1, and 32 (16 for ResNet-50).")] = None,
    size: Annotated[list[int] | None, typer.Option(help="Pixels; default: 224 and 160.")] = None,
    without: Annotated[str, typer.Option(help="Words of contenders to leave out, with commas.")] = "",
    out: Annotated[Path | None, typer.Option(help="Folder for int8.json, int8.md and int8.png.")] = None,
    one: Annotated[str, typer.Option(hidden=True)] = "",
) -> None:
    if one:  # a process of its own for each case: compilers leave much behind
        name, *numbers = one.split(",")
        print(json.dumps(measured(name, *map(int, numbers), without)))
        return
    found: dict[str, dict[str, float]] = {}
    for name, pixels in product(only or NETWORKS, size or [224, 160]):
        for count, many in product(threads or [1, 2], batch or [1, NETWORKS[name]]):
            asked = ["--one", f"{name},{many},{count},{pixels}", "--without", without]
            done = subprocess.run([sys.executable, __file__, *asked], stdout=subprocess.PIPE, text=True, check=True)
            found[f"{name} at {pixels}, batch {many}, threads {count}"] = json.loads(done.stdout.splitlines()[-1])
            print(text({key: found[key] for key in list(found)[-1:]}), flush=True)
    facts = f"{cpu_name()}, torch {torch.__version__}, " + (
        "VNNI" if onednn.trusted() else "no VNNI: zoo's int8 weights have 7 bits here"
    )
    print(f"\n{text(found)}\n\n{facts}.")
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / "int8.json").write_text(json.dumps({"facts": facts, "ms": found}, indent=1) + "\n")
        (out / "int8.md").write_text(f"```text\n{text(found)}\n```\n\n{facts}.\n")
        plot(found, facts, out / "int8.png")


def text(found: dict[str, dict[str, float]]) -> str:
    """A table a network and size: rows are contenders, columns cases: ms, and how many times as fast as the base."""
    networks = dict.fromkeys(key.partition(",")[0] for key in found)
    return "\n\n".join(_table(name, {k: t for k, t in found.items() if k.startswith(f"{name},")}) for name in networks)


def _table(name: str, found: dict[str, dict[str, float]]) -> str:
    titles = [title for title in CONTENDERS if any(title in times for times in found.values())]
    rows = [
        [title, *(f"{t[title]:.2f} {t[BASE] / t[title]:5.2f}x" if title in t else "" for t in found.values())]
        for title in titles
    ]
    best = ["zoo int8, torch / best PyTorch peer"]
    for times in found.values():
        peers = [times[title] for title in PYTORCH if title in times]
        best.append(f"{times['zoo int8, torch'] / min(peers):.2f}")
    return tables.text([f"{name}, ms a call", *(key.partition(", ")[2] for key in found)], [*rows, best])


def plot(found: dict[str, dict[str, float]], facts: str, file: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(
        -(-len(found) // 2), 2, figsize=(14, 3.2 * -(-len(found) // 2)), squeeze=False, layout="constrained"
    )
    for axis, (key, times) in zip(axes.flat, found.items(), strict=False):
        titles = [title for title in CONTENDERS if title in times][::-1]
        colours = ["tab:blue" if title.startswith("zoo") else "lightgrey" for title in titles]
        bars = axis.barh(titles, [times[BASE] / times[title] for title in titles], color=colours)
        axis.bar_label(bars, fmt="%.2f", padding=3, fontsize=8)
        axis.set_title(key, fontsize=10)
        axis.tick_params(labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    for axis in axes.flat[len(found) :]:
        axis.set_visible(False)
    figure.suptitle(f"Times as fast as {BASE}\n{facts}", fontsize=11)
    figure.savefig(file, dpi=80)


if __name__ == "__main__":
    typer.run(main)
