"""Draws which device computes what and when: as text, and as a PNG."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from zoo.files import written_whole
from zoo.planning.schedules import BACKWARD_WEIGHT, FORWARD
from zoo.planning.simulate import Span

MOST_DEVICES = 16  # that are drawn
LEGEND = "0-9 forward pass of that microbatch (its last digit), a-j backward pass, w gradients of weights, . waiting"
_COLOURS = {"F": "#4477aa", "B": "#ee8866", "I": "#ee8866", "W": "#bbcc33"}
_MEANING = {"F": "forward", "B": "backward", "I": "backward, input", "W": "backward, weights"}


def text(spans: Sequence[Span], width: int = 96) -> str:
    """A line for each device, of `width` characters for the whole step."""
    end = max(span.end for span in spans)
    devices = sorted({span.device for span in spans})
    lines = {device: ["."] * width for device in devices[:MOST_DEVICES]}
    for span in spans:
        if span.device in lines:
            first, last = (min(width, round(width * when / end)) for when in (span.start, span.end))
            lines[span.device][first:last] = [_letter(span)] * (last - first)
    label = len(f"device {devices[-1]}")
    drawn = [f"{f'device {device}':<{label}} {''.join(line)}" for device, line in lines.items()]
    more = len(devices) - len(lines)
    return "\n".join([*drawn, *([f"and {more} devices more"] if more else []), LEGEND])


def draw(spans: Sequence[Span], path: str | os.PathLike[str], title: str) -> Path:
    """Write the timeline to a PNG. Raises ValueError for another ending, and where matplotlib is missing."""
    path = check_path(path)
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    devices = sorted({span.device for span in spans})
    figure = Figure(figsize=(10, 1.4 + 0.32 * len(devices)), layout="constrained")
    axes = figure.subplots()
    for kind, colour in _COLOURS.items():
        for device in devices:
            bars = [
                (1e3 * span.start, 1e3 * (span.end - span.start))
                for span in spans
                if span.device == device and span.action.kind == kind
            ]
            if bars:
                axes.broken_barh(bars, (device - 0.42, 0.84), facecolors=colour, edgecolor="white", linewidth=0.5)
    kinds = dict.fromkeys(span.action.kind for span in spans)
    axes.legend(
        handles=[Patch(color=_COLOURS[kind], label=_MEANING[kind]) for kind in kinds],
        loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=len(kinds), frameon=False,
    )  # fmt: skip
    axes.set(xlabel="milliseconds", ylabel="device", title=title, ylim=(devices[-1] + 0.6, -0.6))
    axes.set_yticks(devices if len(devices) <= MOST_DEVICES else devices[:: len(devices) // MOST_DEVICES])
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    with written_whole(path) as part:
        figure.savefig(part, dpi=120, format="png")
    return path


def check_path(path: str | os.PathLike[str]) -> Path:
    """The path of a picture; raises ValueError for another ending than .png, and where matplotlib is missing."""
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise ValueError(f"A timeline is written as a .png, not as {path.name!r}.")
    if find_spec("matplotlib") is None:
        raise ValueError(
            'A timeline as a picture needs matplotlib: pip install "zoo-efficient[train]". Without a file it is text.'
        )
    return path


def _letter(span: Span) -> str:
    digit = span.action.microbatch % 10
    if span.action.kind == FORWARD:
        return str(digit)
    return "w" if span.action.kind == BACKWARD_WEIGHT else "abcdefghij"[digit]
