"""`zoo compare`."""

from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from zoo.cli.common import JsonOption, print_json
from zoo.cli.screen import err, out, show, whole


def run(
    family: Annotated[list[str], typer.Argument(help="A family ('mobilenet'), or several names, folders or files.")],
    images: Annotated[
        int | None, typer.Option(help="Number of shipped test pictures to use, where some ship. Default: 200.")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(help="Your own labelled data, as in `zoo eval`. Default: the shipped pictures, where some ship."),
    ] = None,
    group_column: Annotated[
        str | None,
        typer.Option(help="For recommenders: the column of --data whose rows belong together, such as user_id."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Measure a dense network and its variants side by side on this machine."""
    console = err()
    with console.status("starting") as status:
        from zoo.report.compare import compare

        found = compare(
            family[0] if len(family) == 1 else family,
            images=images,
            data=data,
            group_column=group_column,
            progress=lambda step: status.update(Text(step)),
        )
    if json:
        print_json(found.to_json())
        return
    console = out()
    name, _, purpose = found.title().partition(": ")
    table = Table(
        box=None,
        pad_edge=False,
        header_style="dim",
        padding=(0, 2 if console.is_terminal and console.width >= 100 else 1, 0, 0),
    )
    for i, header in enumerate(found.headers()):
        table.add_column(header, justify="right" if i else "left", no_wrap=True, vertical="bottom")
    for cells in found.cells():
        table.add_row(*map(whole, cells))
    console.print(Text.assemble((whole(name), "bold"), f": {whole(purpose)}\n"))
    show(table)
    console.print()
    for note in found.notes():
        console.print(Text(whole(note), style="dim"))
