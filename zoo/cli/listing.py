"""`zoo list`."""

from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from zoo.cli.common import JsonOption, print_json
from zoo.cli.screen import out, remark, show


def run(
    pattern: Annotated[str, typer.Argument(help="Names to show, with shell wildcards: 'mobilenet*', '*-int8'.")] = "*",
    task: Annotated[str | None, typer.Option(help="Show only networks for this task.")] = None,
    variant: Annotated[str | None, typer.Option(help="Show only this variant: dense, int8, pruned-int8, ...")] = None,
    shipped: Annotated[
        bool | None,
        typer.Option("--shipped/--fresh", help="Show only networks with weights in the package, or only the others."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """List the networks: shipped, published on the Hub, or with random weights."""
    from zoo.catalog.info import Info, info
    from zoo.catalog.listing import list_models

    found = [info(name) for name in list_models(pattern, task=task, variant=variant, shipped=shipped)]
    if json:
        print_json([one.to_json() for one in found])
        return
    if not found:
        _say_nothing_matches(pattern, task, alone=task is None and variant is None and shipped is None)
        return
    by_purpose: dict[str, list[Info]] = {}
    for one in found:
        if one.shipped:
            by_purpose.setdefault(one.purpose, []).append(one)
    for purpose, networks in by_purpose.items():
        _print_shipped(purpose, networks)
    published = [one for one in found if not one.shipped and one.source]
    if published:
        _print_published(published)
    fresh = [one for one in found if not one.shipped and not one.source]
    if fresh:
        _print_fresh(fresh)


def _print_shipped(purpose: str, networks: list) -> None:  # type: ignore[type-arg]
    from zoo import formatting
    from zoo.catalog.listing import aliases

    names = {one.metric.name for one in networks if one.metric}
    shares = {"top-1 accuracy": "top-1 %", "accuracy": "accuracy %"}
    figure = " / ".join(sorted(shares.get(name, name) for name in names))
    table = _table("name", "params", "MACs", "file", figure)
    for one in networks:
        value = f"{one.metric.value:.2f}" if one.metric else "-"
        table.add_row(one.name, *_counts(one), formatting.size(one.bytes), value)
    console = out()
    console.print(Text.assemble((purpose, "bold"), " (weights in the package)"))
    show(table)
    for one in networks:
        if one.variant == "dense" and aliases(one.name):
            console.print(Text(f"{aliases(one.name)[0]!r} is short for {one.name!r}.", style="dim"))
    console.print()


def _print_published(networks: list) -> None:  # type: ignore[type-arg]
    table = _table("name", "input", "params", "MACs", "licence")
    for one in networks:
        size = one.takes.removesuffix(" pixels")
        table.add_row(one.name, size, *_counts(one), one.licence or "-")
    console = out()
    heading = " (downloaded at first use; -int8 and -sparse are made from them)"
    console.print(Text.assemble(("On the Hugging Face Hub", "bold"), heading))
    show(table)
    console.print()


def _print_fresh(networks: list) -> None:  # type: ignore[type-arg]
    table = _table("name", "input", "params", "MACs")
    for one in networks:
        size = one.takes.removesuffix(" pixels")
        table.add_row(one.name, size, *_counts(one))
    console = out()
    console.print(Text.assemble(("Architectures", "bold"), " (fresh weights: zoo.create(name, weights=None))"))
    show(table)


def _counts(one: Any) -> list[str]:
    """Of an Info: its parameters and its MACs."""
    from zoo import formatting

    return ["-" if value is None else formatting.count(value) for value in (one.parameters, one.macs)]


def _table(*headers: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 3, 0, 0))
    for i, header in enumerate(headers):
        table.add_column(header, justify="right" if i else "left", no_wrap=True)
    return table


def _say_nothing_matches(pattern: str, task: str | None, alone: bool) -> None:
    from zoo.catalog.listing import aliases, list_models
    from zoo.naming import did_you_mean

    if task is not None and not list_models(task=task):
        remark(
            f"No network of the catalogue is for {task}. Other commands take a saved network or a repository of the "
            "Hub in place of a name: hf-hub:you/your-network."
        )
        return
    known = [spelling for name in list_models() for spelling in (name, *aliases(name))]
    remark(f"Nothing matches {pattern!r}{did_you_mean(pattern, known) if alone else ' with these options.'}")
