"""`zoo generate`."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from zoo.cli.common import JsonOption, NameArgument, open_model, print_json
from zoo.cli.screen import remark, write


def run(
    name: NameArgument,
    prompt: Annotated[str, typer.Option(help="The text to continue.")],
    tokens: Annotated[int, typer.Option(help="Largest number of tokens to add.")] = 100,
    temperature: Annotated[
        float,
        typer.Option(help="0: always the likeliest token; above 0: draw at random, more freely the higher it is."),
    ] = 0.0,
    top_k: Annotated[int, typer.Option(help="Draw only among this many of the likeliest tokens; 0: among all.")] = 0,
    top_p: Annotated[
        float, typer.Option(help="Draw only among the likeliest tokens whose probabilities add up to this.")
    ] = 1.0,
    seed: Annotated[int | None, typer.Option(help="The same seed draws the same text.")] = None,
    json: JsonOption = False,
) -> None:
    """Continue a text, token by token."""
    from zoo.data.preprocess import preprocess

    model: Any = open_model(name)
    if not hasattr(model, "stream"):
        raise ValueError(
            f"{model.spec.name} takes {model.spec.input.unit}, is for {model.spec.task}, and continues no texts. Only "
            "a decoder does, such as gpt2: `zoo list --task text-generation` shows the decoders."
        )
    prepare = preprocess(model)
    ids = prepare(prompt)["input_ids"]
    steps = model.stream(ids, max_new_tokens=tokens, temperature=temperature, top_k=top_k, top_p=top_p, seed=seed)
    start = time.perf_counter()
    found: list[int] = []
    shown = prompt
    if not json:
        write(prompt)
    for step in steps:
        found.append(int(step))
        text = prompt + prepare.continued(ids[0].tolist(), found)
        if not json and not text.endswith("\N{REPLACEMENT CHARACTER}"):  # half of a character
            write(text[len(shown) :])
            shown = text
    seconds = time.perf_counter() - start
    text = prompt + prepare.continued(ids[0].tolist(), found)
    if json:
        print_json({"prompt": prompt, "text": text, "tokens": len(found), "seconds": seconds})
        return
    write(text[len(shown) :] + "\n")
    if len(ids[0]) + len(found) == model.spec.texts.length and len(found) < tokens:
        remark(f"{model.spec.name} has {model.spec.texts.length:,} positions: the text ends before {tokens:,} tokens.")
    remark(f"{len(found)} tokens in {seconds:.1f} s, {len(found) / seconds:.1f} a second, reading the prompt included.")
