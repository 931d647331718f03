"""`zoo predict`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from zoo.cli.common import BAD, JsonOption, NameArgument, open_model, print_json
from zoo.cli.drawings import Drawings
from zoo.cli.screen import complain, counting, out, remark, track, whole

if TYPE_CHECKING:
    from zoo.model.build import Model
    from zoo.tasks import Task
    from zoo.tasks.answers import Shown

TOGETHER = "rows= takes a table, and INPUT is for single inputs: give one of the two."


def run(
    name: NameArgument,
    images: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="INPUT...",
            help="Picture files, folders of pictures, or - for a pipe; texts, for a language model, or .txt files and "
            "- for texts by lines; rows as JSON objects, for a recommender.",
        ),
    ] = None,
    rows: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="A Parquet or CSV file whose rows a recommender scores, in order."),
    ] = None,
    out_path: Annotated[
        str | None,
        typer.Option(
            "--out",
            metavar="FILE.png",
            help="Draw the answer for a picture: masks or boxes with names. Of several pictures, a folder of drawings. "
            "Missing folders are made.",
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            help="A detector's objects of a lower score are left out. Default: 0.3; none with --json.", min=0, max=1
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Show what a network answers for pictures, texts or rows: classes, objects, spans or scores.

    A classifier shows the five likeliest classes and their probabilities.

    A network that gives several labels at once shows one independent probability for each label. A network that gives
    scores shows scores. A recommender gives the probability of a yes; other columns, such as the label's, are ignored.
    Its JSON is {"scores": [...]}, in the order of the rows, with null for one that cannot be read.
    A segmenter shows the share of each class, and draws the classes with --out. A detector shows the objects with their
    scores and corners in pixels, and draws their boxes.
    A token classifier shows the spans of a text that have a label.
    """
    from zoo import kinds, tasks
    from zoo.catalog.info import info

    known = info(name)
    if bool(images) == (rows is not None):
        which = f" {name} reads the columns {', '.join(known.columns)}." if known.columns else ""
        raise ValueError(
            f"Give the inputs behind the name, or rows= with a table.{which}" if rows is None else TOGETHER
        )
    model = open_model(name)
    if rows is not None or images is None:
        if out_path is not None:
            raise ValueError("out= is for drawings of pictures, and rows= scores a table.")
        if threshold is not None:
            raise ValueError("threshold= is for detectors, and rows= scores a table.")
        _scores(model, f"{whole(known.name)}: {known.purpose}", str(rows), json)
        return
    console = out()
    inputs = model.spec.input.fetch("reader")(model.spec).of_arguments(images)
    task = tasks.of(model.spec)
    if not (task.shown or task.answered):
        other = " `zoo generate` continues texts." if task.continues else ""
        other = " `zoo answer` asks it." if "answer" in task.verbs else other
        other = " `zoo translate` translates texts." if model.spec.input.translates else other
        raise ValueError(f"{model.spec.name} is for {model.spec.task}, and that task shows no answers.{other}")
    if not kinds.head(model.spec):
        raise ValueError(f"{model.spec.name} has no head, so there is no answer to show.")
    drawings = Drawings(out_path, inputs, images) if out_path is not None else None
    if drawings is not None and not (task.shown and hasattr(task.fetch("shown"), "draw")):
        raise ValueError(f"out= draws masks and boxes, and {model.spec.name} is for {model.spec.task}.")
    if threshold is not None and not (task.shown and hasattr(task.fetch("shown"), "above")):
        raise ValueError(f"threshold= is for detectors, and {model.spec.name} is for {model.spec.task}.")
    if not json:
        console.print(Text.assemble((whole(known.name), "bold"), f": {known.purpose}"))
    answers = [_answer(model, task, image, drawings, threshold) for image in track(inputs, "Predicting")]
    said = [one if isinstance(one, dict) else one.to_json() for one in answers]
    if json and task.shown and hasattr(task.fetch("shown"), "listed"):
        print_json({"scores": [one.get("score") for one in said]})  # of rows of a file alike
    elif json:
        one, several = model.spec.input.keys
        told = [{one: given, **rounded(answer)} for given, answer in zip(inputs, said, strict=True)]
        if drawings is not None:
            told = [
                answer if "error" in answer else {**answer, "drawing": str(drawings.of(answer[one]))} for answer in told
            ]
        # For one release texts are told under "images" too, their key until there were other inputs.
        places = (several, "images") if several == "inputs" else (several,)
        print_json({"name": known.name, "purpose": known.purpose, **dict.fromkeys(places, told)})
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


def _scores(model: Model, title: str, path: str, json: bool) -> None:
    """Print the score of every row of a table, in its order, one a line."""
    import torch

    from zoo.data.preprocess import preprocess
    from zoo.model.finite import check_answer
    from zoo.tasks.answers import answers

    total, batches = model.spec.input.fetch("reader")(model.spec).batches(path)
    prepare, scores, count = preprocess(model), list[float](), 0
    if not json:
        remark(title)
    with counting("Scoring", total) as advance, torch.inference_mode():
        for prepared in prepare.in_turn(batches):
            inputs = prepared.to(model.device)
            found = model(inputs)
            check_answer(model, found, inputs)
            scored = answers(model.spec.task, found.double())[1].flatten().tolist()
            if json:
                scores += scored
            else:
                typer.echo("\n".join(f"{score:.6f}" for score in scored))
            advance(len(scored))
            count += len(scored)
    if not count:
        raise ValueError(f"{path} has no rows.")
    if json:
        print_json({"scores": scores})


def rounded(answer: Any) -> Any:
    """An answer with its numbers in six decimals, as far as float32 tells them."""
    if isinstance(answer, Mapping):
        return {key: rounded(value) for key, value in answer.items()}
    if isinstance(answer, (list, tuple)):
        return [rounded(one) for one in answer]
    return round(answer, 6) if isinstance(answer, float) else answer


def _answer(
    model: Model, task: Task, image: Any, drawings: Drawings | None, threshold: float | None
) -> Shown | dict[str, str]:
    """The answer for one input, ready to show, or the error that explains why the input cannot be read."""
    import torch

    from zoo.data.pictures import reopenable
    from zoo.data.preprocess import preprocess
    from zoo.model.finite import check_answer
    from zoo.text.native import TextError

    if task.answered:
        try:
            return task.fetch("answered")(model, image)  # type: ignore[no-any-return]
        except (TextError, OSError) as error:
            return {"error": str(error)}
    finder: Any = model if task.objects else None  # boxes are told in the picture's own pixels
    prepare, given = preprocess(model), image
    try:
        if hasattr(prepare, "cut"):  # a picture, which is drawn on too
            given = reopenable(image)
        prepared, sizes = finder.read([given]) if finder else (prepare([given]), [])
    except (ValueError, OSError) as error:
        return {"error": str(error)}
    with torch.inference_mode():
        if isinstance(prepared, dict):
            found = model(**prepared).answer
            check_answer(model, found, **prepared)
        else:
            found = model(prepared)
            check_answer(model, found, prepared)
            found = finder.in_own_pixels(found, prepared, sizes) if finder else found
    shown = task.fetch("shown")(model, found[0])
    if threshold is not None:
        shown.above(threshold)
    if drawings is not None:
        drawings.write(image, given, shown)
    return shown  # type: ignore[no-any-return]
