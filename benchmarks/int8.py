"""int8 and fused float32 networks of the zoo beside what else there is, in one process, by turns.

    python benchmarks/int8.py                    # everything: some two hours, most of it other libraries' compilers
    python benchmarks/int8.py --without compile  # without those
    python benchmarks/int8.py --only resnet18 --size 224 --threads 2
    python benchmarks/int8.py --contenders onnxruntime  # those whose names have the word, beside the base

Needs timm, torchvision, openvino, nncf, onnx, onnxscript, onnxruntime, executorch, torchao and a C++ compiler; what is
missing is left out, and said. Writes a table and a plot where `--out` says. Ratios are times over timm's float32
network in channels_last, in the same run.
"""

from __future__ import annotations

import gc
import json
import shutil
import statistics
import subprocess
import sys
import time
import warnings
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Annotated

import timm
import torch
import torch.nn as nn
import typer
from contenders import BASE, BOUNDS, CONTENDERS, Case, Run, Turns, folder
from torch import Tensor

from zoo import formatting
from zoo.engine.cpu import onednn
from zoo.report.timing import cpu_name

NETWORKS = {"mobilenetv2_100": 32, "tf_efficientnet_lite0": 32, "resnet18": 32, "resnet50": 16}
TURNS, LEAST, SECONDS, PAUSE = 6, 2, 0.5, 0.02  # turns of each contender, calls and seconds a turn, seconds before it


def network(name: str) -> nn.Module:
    """timm's, with random weights and statistics that no channel shares."""
    torch.manual_seed(0)
    made = timm.create_model(name).eval()
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.normal_(module.running_mean, 0.0, 0.1)
    return made


def chosen(contenders: str, without: str) -> list[str]:
    """The titles with a word of `contenders`, and the base's, less those with a word of `without`."""
    words, others = ([word.strip() for word in given.split(",") if word.strip()] for given in (contenders, without))
    titles = [title for title in CONTENDERS if not words or any(word in title for word in words)]
    titles = [title for title in titles if not any(word in title for word in others)]
    if not titles:
        raise ValueError(f"No contender has any of {words} in its name; they are: {'; '.join(CONTENDERS)}.")
    return [title for title in CONTENDERS if title in titles or title == BASE]


def prepared(name: str, size: int) -> Case:
    """A network that every contender gets, with its calibration."""
    calibration = torch.randn(8, 3, size, size, generator=torch.Generator().manual_seed(0))
    return Case(network(name), calibration, calibration, 1, folder())


def measured(name: str, case: Case, titles: list[str]) -> dict[str, float]:
    """Median milliseconds a call of each contender, by turns, every other time in the opposite order."""
    torch.set_num_threads(case.threads)
    ready: dict[str, Run | Turns] = {}
    taken: dict[str, list[float]] = {}
    with torch.inference_mode():
        for title in titles:
            try:
                with torch.inference_mode(False), torch.no_grad():
                    ready[title] = CONTENDERS[title](case)
                turn(ready[title], given(title, case.x), 0.0)
                taken[title] = []
            except Exception as error:
                print(f"{name}: {title} left out: {type(error).__name__}: {str(error)[:150]!r}", file=sys.stderr)
        for number in range(TURNS):
            for title in list(taken)[:: -1 if number % 2 else 1]:
                taken[title] += turn(ready[title], given(title, case.x), SECONDS)
    return {title: 1e3 * statistics.median(times) for title, times in taken.items()}


def cases(
    name: str, sizes: list[int], threads: list[int], batches: list[int], titles: list[str]
) -> dict[str, dict[str, float]]:
    """The milliseconds of one network, for each size, number of threads and batch."""
    warnings.filterwarnings("ignore")
    found = {}
    for size in sizes:
        case = prepared(name, size)
        try:
            for count, many in product(threads, batches):
                x = torch.randn(many, 3, size, size, generator=torch.Generator().manual_seed(1))
                here = replace(case, x=x.contiguous(memory_format=torch.channels_last), threads=count)
                found[f"{name} at {size}, batch {many}, threads {count}"] = measured(name, here, titles)
        finally:
            shutil.rmtree(case.folder, ignore_errors=True)
    return found


def given(title: str, x: Tensor) -> Tensor:
    """Runtimes take plain format: to reorder `x` at each call would wake threads of torch, which spin beside theirs."""
    plain = title == "timm float32" or any(word in title.lower() for word in ("onnxruntime", "openvino", "executorch"))
    return x.contiguous() if plain else x


def turn(contender: Run | Turns, x: Tensor, seconds: float) -> list[float]:
    """Seconds of each call, behind one or two that do not count; `Turns` are opened for that alone."""
    run = contender.open() if isinstance(contender, Turns) else contender
    time.sleep(PAUSE)
    began = time.perf_counter()
    run(x)
    if time.perf_counter() - began < SECONDS:
        run(x)
    found: list[float] = []
    began = time.perf_counter()
    while len(found) < LEAST or time.perf_counter() - began < seconds:
        start = time.perf_counter()
        run(x)
        found.append(time.perf_counter() - start)
    del run
    gc.collect()
    return found


def main(
    only: Annotated[list[str] | None, typer.Option(help="Networks; default: all.")] = None,
    threads: Annotated[list[int] | None, typer.Option()] = None,
    batch: Annotated[list[int] | None, typer.Option(help="Default: 1, and 32 (16 for ResNet-50).")] = None,
    size: Annotated[list[int] | None, typer.Option(help="Pixels; default: 224 and 160.")] = None,
    contenders: Annotated[str, typer.Option(help="Words of contenders to take, with commas; default: all.")] = "",
    without: Annotated[str, typer.Option(help="Words of contenders to leave out, with commas.")] = "",
    out: Annotated[Path | None, typer.Option(help="Folder for int8.json, int8.md and int8.png.")] = None,
    one: Annotated[str, typer.Option(hidden=True)] = "",
) -> None:
    titles = chosen(contenders, without)
    if one:
        print(json.dumps(cases(one, size or [], threads or [], batch or [], titles)))
        return
    found: dict[str, dict[str, float]] = {}
    for name, pixels in product(only or NETWORKS, size or [224, 160]):  # a process each: compilers leave much behind
        asked = ["--one", name, "--size", str(pixels), "--contenders", contenders, "--without", without]
        for option, values in ("--threads", threads or [1, 2]), ("--batch", batch or [1, NETWORKS[name]]):
            asked += [text for value in values for text in (option, str(value))]
        done = subprocess.run([sys.executable, __file__, *asked], stdout=subprocess.PIPE, text=True, check=True)
        now = json.loads(done.stdout.splitlines()[-1])
        print(f"{text(now)}\n", flush=True)
        found |= now
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
    for label, ours, peers in BOUNDS:
        ratios = [_ratio(times, ours, peers) for times in found.values()]
        if any(ratios):
            rows.append([label, *ratios])
    return formatting.text([f"{name}, ms a call", *(key.partition(", ")[2] for key in found)], rows)


def _ratio(times: dict[str, float], ours: str, peers: tuple[str, ...]) -> str:
    """Our time over that of the quickest peer; nothing where either was not measured."""
    theirs = [times[title] for title in peers if title in times]
    return f"{times[ours] / min(theirs):.2f}" if ours in times and theirs else ""


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
