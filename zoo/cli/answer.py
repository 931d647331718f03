"""`zoo answer`."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.text import Text

from zoo.cli.common import JsonOption, NameArgument, open_model, print_json
from zoo.cli.screen import out, whole

WHAT = "a context is a text file"


def run(
    name: NameArgument,
    question: Annotated[list[str], typer.Option(help="The question. Repeat it for several.")],
    context: Annotated[str, typer.Option(metavar="FILE", help="A text file with the answer in it, or - for a pipe.")],
    top: Annotated[int, typer.Option(help="How many answers, the best first.", min=1)] = 1,
    allow_empty: Annotated[
        bool, typer.Option("--allow-empty", help="Say so if there is no answer, as networks for SQuAD 2 can.")
    ] = False,
    null_threshold: Annotated[
        float, typer.Option(help="With --allow-empty: how much better no answer must be than the best one, in logits.")
    ] = 0.0,
    max_answer_length: Annotated[int, typer.Option(help="Most tokens of an answer.", min=1)] = 64,
    json: JsonOption = False,
) -> None:
    """Find the part of a text that answers a question. The text may be of any length.

    The JSON holds, for each question, its answers with their score, a probability, and their characters in the text.
    """
    from zoo.catalog.info import info
    from zoo.files import given_path, text_of

    known, model = info(name), open_model(name)
    asked: Any = model
    if not hasattr(model, "answer"):
        raise ValueError(
            f"{model.spec.name} is for {model.spec.task} and answers no questions. `zoo list --task "
            "question-answering` shows networks that do; folders of transformers have more."
        )
    text = text_of(given_path(context), WHAT)
    found = asked.answer(
        question,
        text,
        top_k=top,
        allow_empty=allow_empty,
        null_threshold=null_threshold,
        max_answer_length=max_answer_length,
    )
    found = [one if isinstance(one, list) else [one] for one in found]
    if json:
        told = [{"question": one, "answers": answers} for one, answers in zip(question, found, strict=True)]
        print_json({"name": known.name, "purpose": known.purpose, "context": context, "questions": told})
        return
    console = out()
    for one, answers in zip(question, found, strict=True):
        if len(question) > 1:
            console.print(Text(whole(one)), soft_wrap=True)
        for answer in answers:
            shown = (
                f"{whole(answer['answer'])}  ({answer['start']}-{answer['end']})" if answer["answer"] else "no answer"
            )
            console.print(Text(f"{100 * answer['score']:6.2f}%  {shown}"), soft_wrap=True)
