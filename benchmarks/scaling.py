"""How the time of a training step grows from 1 to 1,024 devices, by kind of parallelism, as `zoo.plan` predicts it.

    python benchmarks/scaling.py --out docs/scaling.png --figures scaling.json

The batch grows with the devices (weak scaling), so a step would take the same time on all if devices needed nothing of
each other. Rows are estimated for the numbers of a device below; nothing runs. `--figures` receives all predictions,
and the table that docs/parallel.md shows is printed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from zoo import registry
from zoo.inputs import Feature, TableInput
from zoo.planning.candidates import Prediction, Predictor
from zoo.planning.devices import Device, Link
from zoo.planning.profile import estimated
from zoo.planning.result import duration
from zoo.planning.search import Search

DEVICE = Device(flops=60e12, memory_bandwidth=1.5e12)
LINK = Link(bandwidth=25e9, latency=10e-6)
MEMORY = 80e9
DEVICES = tuple(2**power for power in range(11))
SHOWN = (1, 8, 64, 256, 1024)
LONG = TableInput(
    (
        Feature("user_id", num_embeddings=100_000_000, hashed=True),
        Feature("item_id", num_embeddings=1_000_000, hashed=True),
        Feature("device", num_embeddings=64),
        Feature("price", "numeric"),
    )
)
# title -> (spec, examples a device, size)
NETWORKS: dict[str, tuple[Any, int, int | None]] = {
    "ResNet-50, 64 pictures a device": (registry.spec("resnet50"), 64, None),
    "GPT-2, 8 texts of 512 tokens a device": (registry.spec("gpt2"), 8, 512),
    "DeepFM, 100 million rows in a table, 8,192 examples a device": (registry.spec("deepfm", schema=LONG), 8192, None),
}
COLOURS = {
    "data": "#4477aa", "fsdp": "#ee6677", "tables": "#228833", "pipeline": "#ccbb44",
    "pipeline x data": "#66ccee", "pipeline x fsdp": "#aa3377",
}  # fmt: skip


def predictions(spec: Any, each: int, size: int | None) -> dict[int, list[Prediction]]:
    profile = estimated(spec, DEVICE, size=size)
    return {
        count: Search(Predictor(profile, each * count, LINK, MEMORY), count, every=True).best() for count in DEVICES
    }


def table(title: str, found: dict[int, list[Prediction]]) -> list[str]:
    alone = found[1][0].seconds
    lines = [
        f"| {title} | {' | '.join(f'{count:,}' for count in SHOWN)} |",
        f"|---|{'---:|' * len(SHOWN)}",
        f"| one process | {duration(alone)} |{' |' * (len(SHOWN) - 1)}",
    ]
    for kind in COLOURS:
        cells = []
        for count in SHOWN:
            one = next((one for one in found[count] if one.plan.kind == kind), None)
            cells.append("" if one is None else duration(one.seconds) if one.fits else "too large")
        if any(cells):
            lines.append(f"| {kind} | {' | '.join(cells)} |")
    return lines


def draw(found: dict[str, dict[int, list[Prediction]]], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 4.2), layout="constrained")
    for axes, (title, by_count) in zip(figure.subplots(1, len(found)), found.items(), strict=True):
        alone = 1e3 * by_count[1][0].seconds
        axes.axhline(alone, color="grey", linewidth=1, linestyle=":")
        for kind, colour in COLOURS.items():
            points = [
                (count, 1e3 * one.seconds)
                for count, ranked in by_count.items()
                for one in ranked
                if one.plan.kind == kind and one.fits
            ]
            if points:
                axes.plot(*zip(*[(1, alone), *points], strict=True), color=colour, marker="o", markersize=3, label=kind)
        axes.set(xscale="log", yscale="log", xlabel="devices", title=title.replace(", ", "\n", 1))
        axes.title.set_fontsize(10)
        axes.set_xticks([1, 4, 16, 64, 256, 1024], ["1", "4", "16", "64", "256", "1024"])
        low, high = axes.get_ylim()
        ticks = [one for one in (2, 5, 10, 20, 50, 100, 200, 500, 1000) if low <= one <= high]
        axes.set_yticks(ticks, [f"{one:,}" for one in ticks])
        axes.minorticks_off()
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=8)
    figure.axes[0].set_ylabel("milliseconds of a step")
    figure.savefig(path, dpi=110)


def main(
    out: Annotated[Path, typer.Option(help="PNG.")] = Path("scaling.png"),
    figures: Annotated[Path, typer.Option(help="JSON.")] = Path("scaling.json"),
) -> None:
    found = {title: predictions(*how) for title, how in NETWORKS.items()}
    for title, by_count in found.items():
        print("\n".join(table(title, by_count)), end="\n\n")
    written = {title: {count: [one.to_json() for one in ranked] for count, ranked in by_count.items()}
               for title, by_count in found.items()}  # fmt: skip
    figures.write_text(json.dumps(written, indent=1))
    draw(found, out)


if __name__ == "__main__":
    typer.run(main)
