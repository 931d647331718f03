"""`zoo predict`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from zoo.cli.common import BAD, JsonOption, NameArgument, complain, open_model, out, print_json

if TYPE_CHECKING:
    from zoo.build import Model

TOP = 5


def run(
    name: NameArgument,
    images: Annotated[list[str], typer.Argument(metavar="INPUT...", help="Picture files; texts for a language model.")],
    json: JsonOption = False,
) -> None:
    """Say what is on pictures, or what kind texts are of: the likeliest five classes, with their probabilities."""
    from zoo.listing import info

    known, model = info(name), open_model(name)
    console = out()
    if not json:
        console.print(Text.assemble((known.name, "bold"), f": {known.purpose}"))
    answers = [_answer(model, image) for image in images]
    if json:
        print_json({"name": known.name, "purpose": known.purpose, "images": answers})
    for answer in answers:
        if "error" in answer:
            complain(answer["error"])
        elif not json:
            console.print(Text(f"\n{answer['image']}"), soft_wrap=True)
            for guess in answer["top"]:
                console.print(Text(f"  {100 * guess['probability']:6.2f}%  {guess['label']}"))
    bad = sum("error" in answer for answer in answers)
    if bad:
        raise typer.Exit(BAD if bad == len(answers) else 1)


def _answer(model: Model, image: str) -> dict[str, Any]:
    import torch

    from zoo.evaluate import class_name
    from zoo.preprocess import preprocess

    try:
        prepared = preprocess(model)(image)
    except (ValueError, OSError) as error:
        return {"image": image, "error": str(error)}
    with torch.inference_mode():
        if isinstance(prepared, dict):
            if model.spec.rows[-1].kind != "classifier":
                raise ValueError(f"{model.spec.name} is for {model.spec.task}; it has no classes of texts to name.")
            probabilities = model(**prepared).logits[0].softmax(0)
        else:
            probabilities = model(prepared)[0].softmax(0)
    top = probabilities.topk(min(TOP, len(probabilities)))
    guesses = zip(top.values.tolist(), top.indices.tolist(), strict=True)
    return {"image": image, "top": [{"label": class_name(model, i), "probability": value} for value, i in guesses]}
