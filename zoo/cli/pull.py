"""`zoo pull`."""

from pathlib import Path
from typing import Annotated

import typer

from zoo.cli.common import JsonOption, out, print_json


def run(
    names: Annotated[list[str], typer.Argument(help="Networks' names, or repositories of the Hub: org/name.")],
    revision: Annotated[str | None, typer.Option(help="Another branch, tag or commit.")] = None,
    cache_dir: Annotated[Path | None, typer.Option(help="Where to keep it, instead of HF_HUB_CACHE.")] = None,
    json: JsonOption = False,
) -> None:
    """Fetch weights ahead of time, for use without a network."""
    from zoo.factory import pull

    places = {name: pull(name, revision=revision, cache_dir=cache_dir) for name in names}
    if json:
        print_json(places)
        return
    for name, place in places.items():
        out().print(f"{name}  {place}", soft_wrap=True, markup=False)
