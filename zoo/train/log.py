"""Report on a run: a progress bar, metrics.csv and TensorBoard during the run, a table and curves at the end."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from zoo import formatting
from zoo.files import check_folder, make_folder, write_whole, written_whole
from zoo.printable import printable

Row = dict[str, float]  # one epoch

_NOW = {"images_per_second": "examples_per_second"}  # names in the checkpoints of earlier releases


class TrainingLog:
    """The figures of one run in `folder`, a row for each epoch.

    Checkpoints store the rows. So a resumed run writes the same file as an uninterrupted run, except for the seconds.
    """

    def __init__(self, folder: Path, *, quiet: bool = False) -> None:
        self.folder, self.quiet = folder, quiet
        self.rows: list[Row] = []
        self._done = 0
        self._board: Any = None
        self._bar: Any = None

    def begin(self, rows: Sequence[Row], done: int, total: int) -> None:
        """Start, or continue after the epochs in `rows`, with `done` of `total` steps."""
        self.rows = [{_NOW.get(name, name): value for name, value in row.items()} for row in rows]
        self._done = done
        check_folder(self.folder)  # made at the first epoch's end: data may be refused before, and leaves nothing
        if self.rows:  # the process may have ended after the checkpoint and before the file
            write_csv(self.rows, self.folder / "metrics.csv")
        if not self.quiet and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            text = TextColumn("{task.description}")
            shown = (text, BarColumn(), MofNCompleteColumn(), TextColumn("steps"), TimeRemainingColumn())
            self._bar = Progress(*shown, console=Console(stderr=True), transient=True)
            self._task = self._bar.add_task("Training", total=total, completed=done)
            self._bar.start()

    def step(self, done: int, loss: float) -> None:
        """Advance the progress bar; `loss` is the mean loss of the epoch so far."""
        if self._bar is not None:
            last = self.rows[-1].get("validation") if self.rows else None
            told = f"loss {loss:.3f}" + (f", validation {last:.2f}" if last is not None else "")
            self._bar.update(self._task, completed=done, description=told)

    def epoch(self, row: Row) -> None:
        """Record an epoch's figures: in metrics.csv, in TensorBoard and as a line."""
        self.rows.append(row)
        make_folder(self.folder)
        self._board = self._board or _board(self.folder, self._done)
        write_csv(self.rows, self.folder / "metrics.csv")
        if self._board is not None:
            for name, value in row.items():
                self._board.add_scalar(name, value, int(row["step"]))
            self._board.flush()
        if self._bar is None:  # on a terminal, the table at the end replaces these lines
            self.say("  ".join(f"{name} {_shown(name, value)}" for name, value in row.items() if name != "step"))

    def say(self, line: str) -> None:
        """Print one line on stderr, above the bar."""
        self._show(printable(line, 2000))

    def end(self) -> None:
        """Close the files, and draw the curves if there are epochs."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
            self._show(self.table())
        if self._board is not None:
            self._board.close()
            self._board = None
        if len(self.rows) > 1:
            draw_curves(self.rows, self.folder / "curves.png")

    def _show(self, text: str) -> None:
        if self._bar is not None:
            self._bar.console.print(text, highlight=False, markup=False)
        elif not self.quiet:
            print(text, file=sys.stderr, flush=True)

    def table(self) -> str:
        """A table of at most twelve epochs, with the first and the last."""
        every = max(1, -(-len(self.rows) // 11))
        chosen = [row for index, row in enumerate(self.rows) if index % every == 0 or index == len(self.rows) - 1]
        names = [name for name in (self.rows[0] if self.rows else ()) if name != "step"]
        cells = [[_shown(name, row.get(name)) for name in names] for row in chosen]
        return formatting.text([name.replace("_", " ") for name in names], cells)


class NoLog(TrainingLog):
    """Of a process that writes nothing, beside the one that does."""

    def begin(self, rows: Sequence[Row], done: int, total: int) -> None:
        pass

    def epoch(self, row: Row) -> None:
        pass

    def say(self, line: str) -> None:
        pass

    def end(self) -> None:
        pass


def write_csv(rows: Sequence[Row], path: Path) -> None:
    """Write all rows, whole or not at all."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_whole(path, (text.getvalue().encode(),))


def draw_curves(rows: Sequence[Mapping[str, float]], path: Path) -> None:
    """Draw the loss, and the accuracy if it was measured, over the epochs; without matplotlib do nothing."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return
    measured = [row for row in rows if "validation" in row]
    figure = Figure(figsize=(8 if measured else 4, 3), layout="constrained")
    axes = figure.subplots(1, 2 if measured else 1, squeeze=False)[0]
    axes[0].plot([row["epoch"] for row in rows], [row["loss"] for row in rows])
    axes[0].set(xlabel="epoch", ylabel="training loss")
    if measured:
        axes[1].plot([row["epoch"] for row in measured], [row["validation"] for row in measured], color="tab:orange")
        axes[1].set(xlabel="epoch", ylabel="validation figure")
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    with written_whole(path) as part:
        figure.savefig(part, dpi=120)


def _board(folder: Path, done: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder / "tensorboard"), purge_step=done + 1 if done else None)


def _shown(name: str, value: float | None) -> str:
    if value is None:
        return ""
    if name in ("epoch", "step", "examples_per_second"):
        return f"{value:,.0f}"
    if name == "learning_rate":
        return f"{value:.2g}"
    return f"{value:.1f}" if name == "seconds" else f"{value:.2f}" if name == "validation" else f"{value:.4f}"
