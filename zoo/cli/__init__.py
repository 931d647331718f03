"""The `zoo` command. Each command's file imports what it computes with when it is called, so `--help` is quick."""

from typing import Annotated

import typer

import zoo
from zoo.cli import bench, compare, compress, convert, evaluate, export, generate, info, listing, predict, pull, push
from zoo.cli.common import guarded

app = typer.Typer(
    name="zoo",
    help="Efficient networks by name: dense, distilled, pruned, sparse and int8.",
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
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


for _name, _run in (
    ("list", listing.run),
    ("info", info.run),
    ("predict", predict.run),
    ("generate", generate.run),
    ("eval", evaluate.run),
    ("compare", compare.run),
    ("bench", bench.run),
    ("compress", compress.run),
    ("convert", convert.run),
    ("export", export.run),
    ("pull", pull.run),
    ("push", push.run),
):
    app.command(_name)(guarded(_run))


def main() -> None:
    """The entry point."""
    app(prog_name="zoo")
