"""`zoo pull`."""

from pathlib import Path
from typing import Annotated

import typer

from zoo.cli.common import JsonOption, print_json
from zoo.cli.screen import out, whole


def run(
    names: Annotated[list[str], typer.Argument(help="Names, or repositories of the Hub: org/name.")],
    revision: Annotated[str | None, typer.Option(help="A branch, tag or commit, instead of the default one.")] = None,
    cache_dir: Annotated[Path | None, typer.Option(help="The cache folder. Default: HF_HUB_CACHE.")] = None,
    json: JsonOption = False,
) -> None:
    """Download weights now, to use them offline later."""
    from zoo.factory import pull

    places = {name: pull(name, revision=revision, cache_dir=cache_dir) for name in names}
    if json:
        print_json(places)
        return
    for name, place in places.items():
        out().print(whole(f"{name}  {place}"), soft_wrap=True)
