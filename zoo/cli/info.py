"""`zoo info`."""

from rich.table import Table
from rich.text import Text

from zoo.cli.common import JsonOption, NameArgument, print_json
from zoo.cli.screen import show, whole


def run(name: NameArgument, json: JsonOption = False) -> None:
    """Show what is known of a network: its task, size, measured accuracy, data, recipe and licence."""
    from zoo.catalog.info import info

    found = info(name)
    if json:
        print_json(found.to_json())
        return
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 3, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for heading, text in found.rows():
        table.add_row(heading, Text(whole(text), style="bold" if heading == "for" else ""))
    show(table)
