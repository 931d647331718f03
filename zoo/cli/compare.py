"""`zoo compare`."""

from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from zoo.cli.common import JsonOption, err, out, print_json


def run(
    family: Annotated[list[str], typer.Argument(help="A family ('mobilenet'), or several names, folders or files.")],
    images: Annotated[int, typer.Option(help="How many of the shipped test pictures to use.")] = 200,
    json: JsonOption = False,
) -> None:
    """Measure a family's dense network and its variants side by side, here and now."""
    console = err()
    with console.status("starting") as status:
        from zoo.compare import compare

        found = compare(
            family[0] if len(family) == 1 else family, images=images, progress=lambda step: status.update(Text(step))
        )
    if json:
        print_json(found.to_json())
        return
    console = out()
    name, _, purpose = found.title().partition(": ")
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2 if console.width >= 100 else 1, 0, 0))
    for i, header in enumerate(found.headers()):
        table.add_column(header, justify="right" if i else "left", no_wrap=True, vertical="bottom")
    for cells in found.cells():
        table.add_row(*cells)
    console.print(Text.assemble((name, "bold"), f": {purpose}\n"))
    console.print(table)
    console.print()
    for note in found.notes():
        console.print(Text(note, style="dim"))
