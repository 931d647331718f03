"""`zoo info`."""

from rich.table import Table
from rich.text import Text

from zoo.cli.common import JsonOption, NameArgument, out, print_json


def run(name: NameArgument, json: JsonOption = False) -> None:
    """Show what is known about a network: what it is for, its size, its measured figures, where it comes from."""
    from zoo.listing import info

    found = info(name)
    if json:
        print_json(found.to_json())
        return
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 3, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for heading, text in found.rows():
        table.add_row(heading, Text(text, style="bold" if heading == "for" else ""))
    out().print(table)
