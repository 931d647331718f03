"""Write to a terminal or a pipe. Control characters in text from outside are escaped."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TextIO, TypeVar

from rich import progress
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from zoo.printable import printable

MANY = 10  # from this number of steps, a progress bar is shown
WIDE = 10_000  # columns where stdout is a pipe: names must not be cut


T = TypeVar("T")


class Screen(Console):
    """rich's console that escapes control characters in text: only rich itself colours text and moves the cursor."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for one in super().render(renderable, options):
            yield one if one.control else Segment(_lines(one.text), one.style)


def out() -> Console:
    return _screen(sys.stdout)


def err() -> Console:
    return _screen(sys.stderr)


def show(table: RenderableType) -> None:
    """Print a table on stdout. A terminal needs the blanks behind its lines, a file or a pipe does not."""
    console = out()
    if console.is_terminal:
        console.print(table)
        return
    with console.capture() as captured:
        console.print(table)
    console.out("\n".join(line.rstrip() for line in captured.get().splitlines()))


def complain(message: str) -> None:
    """Print an error as one red line on stderr."""
    err().print(Text(_line(message), style="red"), soft_wrap=True)


def remark(message: str) -> None:
    """Print a remark on stderr."""
    err().print(Text(_line(message), style="dim"), soft_wrap=True)


def write(text: str) -> None:
    """Write a piece of a running text to stdout at once. Line ends and tabs stay."""
    print("\n".join("\t".join(map(whole, line.split("\t"))) for line in text.split("\n")), end="", flush=True)


def track(steps: Sequence[T], what: str) -> Iterable[T]:
    """The steps, with a progress bar on stderr if stderr is a terminal and there are many steps."""
    if len(steps) < MANY or not sys.stderr.isatty():
        return steps
    return progress.track(steps, description=what, console=err(), transient=True)


@contextmanager
def counting(what: str, total: int | None) -> Iterator[Callable[[int], object]]:
    """Count up to `total`, if it is known, with a progress bar on stderr if stderr is a terminal."""
    if not sys.stderr.isatty():
        yield lambda count: None
        return
    with progress.Progress(console=err(), transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda count: bar.advance(task, count)


@contextmanager
def warnings_as_remarks() -> Iterator[None]:
    """Print Python's warnings as remarks: one line, without the place in the source."""

    def show(message: Warning | str, *where: Any, **more: Any) -> None:
        remark(f"Warning: {message}")

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


def _screen(stream: TextIO) -> Screen:
    on_terminal = stream.isatty()
    return Screen(file=stream, highlight=False, markup=False, emoji=False, width=None if on_terminal else WIDE)


def _line(message: str) -> str:
    return printable(" ".join(message.split("\n")), 2000)


def _lines(text: str) -> str:
    return text if text.isprintable() else "\n".join(map(whole, text.split("\n")))


def whole(text: object) -> str:
    """A name from outside on one line, however long it is."""
    text = str(text)
    return printable(text, max(16, 12 * len(text)))  # an escape has up to ten characters
