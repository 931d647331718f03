"""`zoo generate`."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from zoo.cli.common import JsonOption, NameArgument, open_model, print_json, remark


def run(
    name: NameArgument,
    prompt: Annotated[str, typer.Option(help="The text to continue.")],
    tokens: Annotated[int, typer.Option(help="The most tokens to add.")] = 100,
    temperature: Annotated[float, typer.Option(help="0: the likeliest token each time; above: by chance.")] = 0.0,
    top_k: Annotated[int, typer.Option(help="Draw among so many of the likeliest; 0: all.")] = 0,
    top_p: Annotated[float, typer.Option(help="Draw among the fewest that are this likely together.")] = 1.0,
    seed: Annotated[int | None, typer.Option(help="Repeat what was drawn.")] = None,
    json: JsonOption = False,
) -> None:
    """Continue a text, token by token."""
    from zoo.preprocess import preprocess

    model: Any = open_model(name)
    prepare = preprocess(model)
    if not hasattr(prepare, "decode"):
        raise ValueError(f"{model.spec.name} takes pictures; zoo predict says what is on them.")
    ids = prepare(prompt)["input_ids"]
    steps = model.stream(ids, max_new_tokens=tokens, temperature=temperature, top_k=top_k, top_p=top_p, seed=seed)
    start = time.perf_counter()
    found: list[int] = []
    shown = prompt
    if not json:
        typer.echo(prompt, nl=False)
    for step in steps:
        found.append(int(step))
        text = prompt + prepare.continued(ids[0].tolist(), found)
        if not json and not text.endswith("\N{REPLACEMENT CHARACTER}"):  # half of a character
            typer.echo(text[len(shown) :], nl=False)
            shown = text
    seconds = time.perf_counter() - start
    text = prompt + prepare.continued(ids[0].tolist(), found)
    if json:
        print_json({"prompt": prompt, "text": text, "tokens": len(found), "seconds": seconds})
        return
    typer.echo(text[len(shown) :])
    remark(
        f"{len(found)} tokens in {seconds:.1f} s, {len(found) / seconds:.1f} a second, the prompt's own time included."
    )
