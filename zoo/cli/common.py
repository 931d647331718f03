"""Functions that several commands use: error lines, JSON output, and opening a network and its inputs."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.models import OptionInfo

from zoo.cli.screen import complain, remark, warnings_as_remarks

if TYPE_CHECKING:
    from zoo.model.build import Model

NameArgument = Annotated[
    str, typer.Argument(help="A name, a folder or file of a saved network, or a repository of the Hub.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]

BAD = 2  # exit status of an error
_FREE = r"(?<![\w/.-])"  # a word's start, but not inside of a path
_NO_MEMORY = re.compile(
    r"can't allocate memory|not enough memory|out of memory|bad_alloc|bad allocation", re.IGNORECASE
)
STOPPED = 130  # exit status after Ctrl-C


def guarded(run: Callable[..., None]) -> Callable[..., None]:
    """Wrap a command: an error that the user can correct is one red line on stderr and exit status 2, no traceback."""

    @functools.wraps(run)
    def guard(*args: Any, **kwargs: Any) -> None:
        try:
            with warnings_as_remarks():
                run(*args, **kwargs)
        except BrokenPipeError:  # the reader has closed the pipe
            raise
        except KeyboardInterrupt:
            complain("Stopped.")
            raise typer.Exit(STOPPED) from None
        except (ValueError, OSError) as error:
            complain(in_the_shell(str(error), run))
            raise typer.Exit(BAD) from None
        except (MemoryError, RuntimeError) as error:
            if (told := out_of_memory(error)) is None:
                raise
            complain(told)
            raise typer.Exit(BAD) from None

    return guard


def out_of_memory(error: Exception) -> str | None:
    """What to say of an error that is for want of memory, torch's own among them; None for any other."""
    said = str(error).splitlines()[0] if str(error) else ""
    if not isinstance(error, MemoryError) and not _NO_MEMORY.search(said):
        return None
    return f"There is not enough memory. Choose a smaller batch, size or network.{f' ({said})' if said else ''}"


def in_the_shell(message: str, run: Callable[..., None]) -> str:
    """Replace the names of Python arguments in a message by the command's options.

    A word is an argument if it has an underscore, or if "=" follows it.
    """
    for name, parameter in signature(run, eval_str=True).parameters.items():
        for told in getattr(parameter.annotation, "__metadata__", ()):
            if isinstance(told, OptionInfo):
                option = next(iter(told.param_decls or ()), f"--{name.replace('_', '-')}")
                message = re.sub(rf"{_FREE}{name}=(?=[\w\"'(\[]|\.\.\.)", f"{option} ", message)
                message = re.sub(rf"{_FREE}{name}{'=?' if '_' in name else '='}(?![\w/.]\w|\w)", option, message)
    return message


def misspelt(error: Any) -> int:
    """Say in one line what was typed wrongly, or show the help that was asked for; the exit status."""
    context: Any = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError":
        typer.echo(context.get_help())
    else:
        complain(f"{error.format_message()} {f'See `{context.command_path} --help`.' if context else ''}".strip())
    return BAD


def print_json(document: Any) -> None:
    """Print one document on stdout, in ASCII. Tuples become lists, paths become strings.

    Raises ValueError for nan and infinity, which JSON cannot represent.
    """
    try:
        text = json.dumps(document, indent=2, default=str, allow_nan=False)
    except ValueError:
        raise ValueError(
            "The answer contains nan or infinity, which JSON cannot represent. Run the command without --json."
        ) from None
    typer.echo(text)


def open_model(name: str) -> Model:
    from zoo.factory import open_model

    return open_model(name)


def inputs_of(model: Model, name: str, paths: list[Path], split: str) -> Any:
    """The given inputs, or else the shipped pictures of the network's data set; None if there are neither."""
    from zoo import tasks
    from zoo.catalog.listing import find, is_path
    from zoo.data.preprocess import preprocess
    from zoo.data.samples import available, samples

    if paths:
        return preprocess(model)(tasks.reader(model.spec).at_paths(paths))
    dataset = "" if is_path(name) else find(name)[0].tag
    if (dataset, split) not in available():
        return None
    pictures = samples(dataset, split)
    if split == "train":
        remark(f"Calibrating with {pictures!r}.")
    return preprocess(model)(pictures.images)
