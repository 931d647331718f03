"""`zoo translate`."""

from __future__ import annotations

import sys
import time
from contextlib import nullcontext
from typing import Annotated, Any

import typer

from zoo.cli.common import JsonOption, NameArgument, open_model, print_json
from zoo.cli.screen import err, remark, write

PART = 8192  # lines that are sorted by length together, and written together


def run(
    name: NameArgument,
    beams: Annotated[
        int, typer.Option(help="How many translations to follow at once; 1: the likeliest token at each step.")
    ] = 4,
    max_tokens: Annotated[int, typer.Option(help="Largest number of tokens of a translation.")] = 256,
    batch_size: Annotated[int, typer.Option(help="Lines that are computed together.")] = 32,
    json: JsonOption = False,
) -> None:
    """Translate lines: standard input to standard output, one line for each. Empty lines stay empty."""
    model: Any = open_model(name)
    if not hasattr(model, "translate"):
        raise ValueError(
            f"{model.spec.name} takes {model.spec.input.unit}, is for {model.spec.task}, and translates nothing: "
            "`zoo list --task translation` shows the networks that do."
        )
    if sys.stdin.isatty():
        remark("Reading lines from the terminal; Ctrl-D ends them.")
    lines = _lines(sys.stdin.buffer.read())
    began, found = time.perf_counter(), list[str]()
    with _bar(len(lines)) as bar:
        task = bar.add_task("Translating", total=len(lines)) if bar else None
        for start in range(0, len(lines), PART):

            def told(done: int, start: int = start) -> None:
                if bar and task is not None:
                    bar.update(task, completed=start + done)

            part = lines[start : start + PART]
            options = {"beams": beams, "max_tokens": max_tokens, "batch_size": batch_size, "progress": told}
            try:
                made = model.translate(part, **options)
            except ValueError as error:
                raise ValueError(f"{f'Behind line {start:,}: ' if start else ''}{error}") from None
            if json:
                found += made
            else:
                write("".join(" ".join(one.split("\n")) + "\n" for one in made))
    seconds = time.perf_counter() - began
    if json:
        pairs = [{"text": text, "translation": one} for text, one in zip(lines, found, strict=True)]
        print_json({"name": name, "beams": beams, "translations": pairs, "seconds": seconds})
        return
    if lines:
        remark(f"{len(lines):,} lines in {seconds:.1f} s, {len(lines) / max(seconds, 1e-9):.1f} a second.")


def _lines(data: bytes) -> list[str]:
    """The lines of what was read; raises ValueError, naming the line, for what is no UTF-8."""
    rows = data.removesuffix(b"\n").split(b"\n") if data else []
    found = []
    for place, row in enumerate(rows, 1):
        try:
            found.append(row.removesuffix(b"\r").decode())
        except UnicodeDecodeError as error:
            raise ValueError(
                f"Line {place:,} is no UTF-8 (byte {error.start + 1} of it): convert the text first, for instance by "
                "`iconv -t utf-8`."
            ) from None
    return found


def _bar(count: int) -> Any:
    """A progress bar on stderr, where that is a terminal and there is more than one line."""
    if count < 2 or not sys.stderr.isatty():
        return nullcontext()
    from rich.progress import Progress

    return Progress(console=err(), transient=True)
