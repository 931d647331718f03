"""`zoo push`."""

from typing import Annotated

import typer
from rich.text import Text

from zoo.cli.common import JsonOption, NameArgument, open_model, print_json
from zoo.cli.screen import err, out, whole


def run(
    name: NameArgument,
    repo: Annotated[str, typer.Argument(help="The repository to write to: organisation/name.")],
    private: Annotated[
        bool | None, typer.Option("--private/--public", help="Make a new repository private or public.")
    ] = None,
    message: Annotated[str, typer.Option(help="The commit message.")] = "",
    pull_request: Annotated[
        bool, typer.Option("--pull-request", help="Open a pull request instead of a commit.")
    ] = False,
    revision: Annotated[str | None, typer.Option(help="The branch to write to. Default: main.")] = None,
    licence: Annotated[str, typer.Option("--license", help="A licence, as the Hub names it: apache-2.0.")] = "",
    base_model: Annotated[str, typer.Option(help="The repository that the weights were made from.")] = "",
    json: JsonOption = False,
) -> None:
    """Upload a network to the Hugging Face Hub, with a model card that holds its measured figures."""
    from zoo.catalog.info import info

    metric = info(name).metric
    with err().status(Text(whole(f"{name}: to {repo}"))):
        from zoo.weights.push import push_to_hub

        address = push_to_hub(
            open_model(name),
            repo,
            measured=metric or (),
            licence=licence,
            base_model=base_model,
            private=private,
            commit_message=message,
            create_pr=pull_request,
            revision=revision,
        )
    if json:
        print_json({"name": name, "repo": repo, "address": address})
        return
    out().print(whole(f"{name}  {address}"), soft_wrap=True)
