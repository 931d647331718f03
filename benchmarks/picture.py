"""Draws accuracy against time for every variant of the shipped families: the picture of README.

    python benchmarks/picture.py --out docs/accuracy-time.png

Accuracy is the manifest's, over the whole test set. Time is measured here by `zoo.compare`, at batch 1 and at batch 32.
The time of a family's dense network is 1. Needs matplotlib. Takes about two minutes.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Annotated, Any

import matplotlib as mpl
import typer
from PIL import Image

import zoo

mpl.use("Agg")
import matplotlib.pyplot as plt

FAMILIES = ("mobilenet", "efficientnet", "resnet")
BATCHES = (1, 32)
COLOURS = {
    "dense": "#444444",
    "distilled": "#8c6d31",
    "pruned": "#1f6fb4",
    "sparse": "#8a5aa8",
    "int8": "#c8511b",
    "pruned-int8": "#178a4c",
}
# Where a label may stand: its offset from the point, in points, and its alignment. The first one that is free is taken.
PLACES = [
    (dx, dy, across, up)
    for far in (0, 9, 18)
    for dx, dy, across, up in (
        (7 + far, 0, "left", "center"),
        (-7 - far, 0, "right", "center"),
        (0, 7 + far, "center", "bottom"),
        (0, -7 - far, "center", "top"),
        (6 + far, 6 + far, "left", "bottom"),
        (6 + far, -6 - far, "left", "top"),
        (-6 - far, 6 + far, "right", "bottom"),
        (-6 - far, -6 - far, "right", "top"),
    )
]


def main(out: Annotated[Path, typer.Option(help="The PNG file to write.")]) -> None:
    """Compare the families, and draw one panel for each batch size and family."""
    found = {family: zoo.compare(family) for family in FAMILIES}
    plt.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    figure, panels = plt.subplots(len(BATCHES), len(FAMILIES), figsize=(10, 5.4), sharex=True, sharey=True)
    drawn: list[tuple[Any, dict[str, tuple[float, float]]]] = []
    for line, batch in zip(panels, BATCHES, strict=True):
        for panel, family in zip(line, FAMILIES, strict=True):
            time = f"time_batch_{batch}"
            points = {row.variant: (getattr(row, time), row.full_accuracy or 0) for row in found[family].rows}
            drawn.append((panel, points))
            panel.axvline(1, color="#bbbbbb", linewidth=0.8, linestyle=":", zorder=0)
            panel.axhline(points["dense"][1], color="#bbbbbb", linewidth=0.8, linestyle=":", zorder=0)
            panel.grid(alpha=0.15)
            for variant, point in points.items():
                panel.plot(*point, "o", color=COLOURS[variant], markersize=6)
        line[0].set_ylabel(f"batch {batch}: top-1 %")
    times, accuracies = zip(*(point for _, points in drawn for point in points.values()), strict=True)
    panels[0][0].set_xlim(0, max(times) + 0.3)  # room for the names at the right
    panels[0][0].set_xticks([0, 0.25, 0.5, 0.75, 1])
    panels[0][0].set_ylim(min(accuracies) - 0.8, max(accuracies) + 0.9)
    for panel, family in zip(panels[0], FAMILIES, strict=True):
        panel.set_title(f"{family}  ({found[family].rows[0].name})", fontsize=9.5)
    for panel in panels[-1]:
        panel.set_xlabel("\N{LEFTWARDS ARROW} faster     time, dense = 1")
    first = found[FAMILIES[0]]
    figure.suptitle(
        f"CIFAR-10 test accuracy against the time of one picture: PyTorch {first.torch}, {first.cpu}, "
        f"{first.threads} threads{', int8 in floats' * first.reference}",
        fontsize=9,
        color="#444444",
    )
    figure.tight_layout()
    figure.canvas.draw()
    for panel, points in drawn:
        label(panel, points)
    picture = io.BytesIO()
    figure.savefig(picture, dpi=130, facecolor="white")
    Image.open(picture).convert("RGB").quantize(64).save(out, optimize=True)


def label(panel: Any, points: dict[str, tuple[float, float]]) -> None:
    """Write each point's name where it covers no point and no other name."""
    renderer = panel.figure.canvas.get_renderer()
    pixels = [panel.transData.transform(point) for point in points.values()]
    taken: list[Any] = []
    for variant, point in points.items():
        for dx, dy, across, up in PLACES:
            text = panel.annotate(
                variant,
                point,
                xytext=(dx, dy),
                textcoords="offset points",
                ha=across,
                va=up,
                fontsize=9,
                color=COLOURS[variant],
            )
            box = text.get_window_extent(renderer)
            inside = panel.bbox.x0 < box.x0 and box.x1 < panel.bbox.x1 and panel.bbox.y0 < box.y0 < panel.bbox.y1
            free = not any(box.overlaps(other) for other in taken)
            if inside and free and not any(box.padded(4).contains(*pixel) for pixel in pixels):
                break
            if (dx, dy, across, up) != PLACES[-1]:
                text.remove()
        taken.append(box)


if __name__ == "__main__":
    typer.run(main)
