"""What the commands share: consoles, one line for an error, JSON, and opening a network."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

if TYPE_CHECKING:
    from zoo.build import Model

NameArgument = Annotated[str, typer.Argument(help="A network's name, or the folder or file of a saved one.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]

BAD = 2  # exit status for what cannot be done as asked


def out() -> Console:
    return Console(highlight=False)


def err() -> Console:
    return Console(stderr=True, highlight=False)


def guarded(run: Callable[..., None]) -> Callable[..., None]:
    """The command with one red line on stderr, and exit status 2, in place of a traceback for what users can mend."""

    @functools.wraps(run)
    def guard(*args: Any, **kwargs: Any) -> None:
        try:
            run(*args, **kwargs)
        except (ValueError, OSError) as error:
            complain(str(error))
            raise typer.Exit(BAD) from None

    return guard


def complain(message: str) -> None:
    from zoo.listing import printable

    err().print(Text(printable(message, 2000), style="red"), soft_wrap=True)


def remark(message: str) -> None:
    """Something worth knowing beside the answer, on stderr."""
    err().print(Text(message, style="dim"), soft_wrap=True)


def print_json(document: Any) -> None:
    """One document on stdout; tuples become lists, paths strings."""
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False, default=str))


def open_model(name: str) -> Model:
    from zoo.measure import open_model

    return open_model(name)


def texts_in(paths: list[Path]) -> list[str]:
    """The lines of text files, without empty ones."""
    found: list[str] = []
    for path in paths:
        try:
            found += [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is no text"
            raise ValueError(f"{path}: texts come from text files, one a line: {reason}.") from None
    if not found:
        raise ValueError(f"{', '.join(map(str, paths))}: there is no line of text.")
    return found


def pictures_in(paths: list[Path]) -> list[Path]:
    """The files themselves, and every picture inside of the folders."""
    from zoo.labelled import SUFFIXES

    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found += sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES)
        else:
            found.append(path)
    return found
