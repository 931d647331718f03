"""`zoo predict`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from zoo.cli.common import BAD, JsonOption, NameArgument, open_model, print_json
from zoo.cli.screen import complain, out, track, whole

if TYPE_CHECKING:
    from zoo.model.build import Model
    from zoo.tasks import Task
    from zoo.tasks.answers import Shown


def run(
    name: NameArgument,
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT...",
            help="Picture files, folders of pictures, or - for a pipe; or texts, for a language model.",
        ),
    ],
    json: JsonOption = False,
) -> None:
    """Classify pictures or texts: show the five likeliest classes and their probabilities.

    A network that gives several labels at once shows one independent probability for each label. A network that gives
    scores shows scores.
    """
    from zoo import kinds, tasks
    from zoo.catalog.info import info

    known, model = info(name), open_model(name)
    console = out()
    inputs = model.spec.input.fetch("reader")(model.spec).of_arguments(images)
    task = tasks.of(model.spec)
    if not task.shown:
        other = " `zoo generate` continues texts." if task.continues else ""
        raise ValueError(f"{model.spec.name} is for {model.spec.task}, and that task shows no answers.{other}")
    if not kinds.head(model.spec):
        raise ValueError(f"{model.spec.name} has no head, so there is no answer to show.")
    if not json:
        console.print(Text.assemble((whole(known.name), "bold"), f": {known.purpose}"))
    answers = [_answer(model, task, image) for image in track(inputs, "Predicting")]
    if json:
        said = [one if isinstance(one, dict) else one.to_json() for one in answers]
        one, several = model.spec.input.keys
        told = [{one: given, **answer} for given, answer in zip(inputs, said, strict=True)]
        # For one release texts are told under "images" too, their key until there were other inputs.
        print_json({"name": known.name, "purpose": known.purpose, **dict.fromkeys((several, "images"), told)})
    for image, answer in zip(inputs, answers, strict=True):
        if isinstance(answer, dict):
            complain(answer["error"])
        elif not json:
            console.print(Text(f"\n{whole(str(image))}"), soft_wrap=True)
            for line in answer.lines():
                console.print(Text(f"  {whole(line)}"))
    bad = sum(isinstance(answer, dict) for answer in answers)
    if bad:
        raise typer.Exit(BAD if bad == len(answers) else 1)


def _answer(model: Model, task: Task, image: Any) -> Shown | dict[str, str]:
    """The answer for one input, ready to show, or the error that explains why the input cannot be read."""
    import torch

    from zoo.data.preprocess import preprocess
    from zoo.model.finite import check_answer

    try:
        prepared = preprocess(model)([image])
    except (ValueError, OSError) as error:
        return {"error": str(error)}
    with torch.inference_mode():
        if isinstance(prepared, dict):
            found = model(**prepared).answer
            check_answer(model, found, **prepared)
        else:
            found = model(prepared)
            check_answer(model, found, prepared)
    return task.fetch("shown")(model, found[0])  # type: ignore[no-any-return]
