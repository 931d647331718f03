"""`zoo eval`."""

import sys
from typing import Annotated

import typer
from rich.text import Text

from zoo.cli.common import JsonOption, NameArgument, open_model, out, print_json, remark


def run(
    name: NameArgument,
    data: Annotated[
        str, typer.Option(help="A Parquet file with 'image' and 'label', or a folder with a folder for every class.")
    ],
    batch_size: Annotated[int, typer.Option(help="Pictures at a time.")] = 250,
    json: JsonOption = False,
) -> None:
    """Measure a network's accuracy on your copy of the data."""
    from zoo.evaluate import evaluate
    from zoo.listing import info

    known = info(name)
    found = evaluate(open_model(name), data, batch_size=batch_size, progress=sys.stderr.isatty())
    if json:
        print_json({"name": known.name, "purpose": known.purpose, **found.to_json()})
        return
    console = out()
    console.print(Text.assemble((known.name, "bold"), f": {known.purpose}"))
    console.print(Text(repr(found)))
    if known.metric and known.metric.sha256 == found.sha256:
        console.print(Text(f"The manifest says {known.metric.value:.2f}% on this very file."))
    elif known.metric:
        metric = known.metric
        remark(f"The manifest says {metric.value:.2f}% on {metric.dataset}, {metric.split}: other data than this.")
    for label, value in found.per_class.items():
        console.print(Text(f"  {value:6.2f}%  {label}"))
