"""The `zoo` command. A command imports torch and the like when it runs, so `--help` is quick."""

import os
import sys
from contextlib import suppress
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import zoo
from zoo.cli import (
    answer,
    bench,
    compare,
    compress,
    convert,
    evaluate,
    export,
    generate,
    info,
    listing,
    plan,
    predict,
    pull,
    push,
    schema,
    training,
    translate,
)
from zoo.cli.common import guarded, misspelt
from zoo.cli.once import Once


class Commands(TyperGroup):
    """Show a usage error on one line, without control characters."""

    def main(self, *args: Any, **options: Any) -> Any:
        try:
            status = super().main(*args, **{**options, "standalone_mode": False})
            sys.stdout.flush()
        except BrokenPipeError:
            with suppress(OSError, ValueError):  # else Python would complain at its end, too
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            status = 1
        except Exception as error:
            if not hasattr(error, "format_message"):  # typer's own errors have it
                raise
            status = misspelt(error)
        sys.exit(status if isinstance(status, int) else 0)


app = typer.Typer(
    cls=Commands,
    name="zoo",
    help="Small, fast networks by name: dense, distilled, pruned, sparse and int8. `zoo COMMAND --help` lists options.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"zoo {zoo.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


for _name, _run in (
    ("list", listing.run),
    ("info", info.run),
    ("predict", predict.run),
    ("answer", answer.run),
    ("translate", translate.run),
    ("generate", generate.run),
    ("eval", evaluate.run),
    ("compare", compare.run),
    ("bench", bench.run),
    ("plan", plan.run),
    ("compress", compress.run),
    ("convert", convert.run),
    ("export", export.run),
    ("pull", pull.run),
    ("push", push.run),
    ("schema", schema.run),
):
    app.command(_name, cls=Once)(guarded(_run))
training.add_to(app)


def main() -> None:
    """The entry point."""
    app(prog_name="zoo")
