"""`zoo push`."""

from typing import Annotated

import typer
from rich.text import Text

from zoo.cli.common import JsonOption, NameArgument, err, open_model, out, print_json


def run(
    name: NameArgument,
    repo: Annotated[str, typer.Argument(help="The repository to write: organisation/name.")],
    private: Annotated[bool | None, typer.Option("--private/--public", help="Of a new repository.")] = None,
    message: Annotated[str, typer.Option(help="The commit's message.")] = "",
    pull_request: Annotated[bool, typer.Option("--pull-request", help="Propose it instead of writing it.")] = False,
    revision: Annotated[str | None, typer.Option(help="Another branch.")] = None,
    licence: Annotated[str, typer.Option("--license", help="The Hub's name of a licence: apache-2.0.")] = "",
    base_model: Annotated[str, typer.Option(help="The repository that the weights were made of.")] = "",
    json: JsonOption = False,
) -> None:
    """Upload a network to the Hugging Face Hub: its weights, its facts, and a card with its measured figures."""
    from zoo.listing import info

    metric = info(name).metric
    with err().status(Text(f"{name}: to {repo}")):
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
    out().print(f"{name}  {address}", soft_wrap=True, markup=False)
