"""Measure a network on labelled pictures or texts. The manifest's figures were measured in the same way."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from zoo import kinds, tasks
from zoo.checks import check_flag, check_told, check_whole
from zoo.data.labelled_data import LabelledData, open_labelled_data
from zoo.data.preprocess import ImageError, preprocess
from zoo.data.splits import EVALUATION, first_of
from zoo.data.table_files import TableFiles
from zoo.model.answer import answer, to_device
from zoo.model.build import not_a_model
from zoo.model.finite import check_answer
from zoo.report.bootstrap import intervals
from zoo.report.evaluation import Evaluation as Evaluation
from zoo.spec import ModelSpec
from zoo.tasks.answers import class_name
from zoo.tasks.metrics import Accuracy, Judge

if TYPE_CHECKING:
    from zoo.model.build import Model


def evaluate(
    model: Model,
    data: Any,
    *,
    split: str | None = None,
    batch_size: int | None = None,
    input_columns: Sequence[str] = (),
    label_column: str | None = None,
    ignore_index: int | None = None,
    skip_damaged: bool = False,
    resamples: int = 0,
    group_column: str | None = None,
    progress: bool = False,
) -> Evaluation:
    """Measure a network on labelled pictures or texts, by the figures of its task: of a classifier, its accuracy.

    Inputs are prepared as the network asks. Folders, and labels that a table names, are matched to the network's
    labels by name. An example that cannot be read is left out and named in the result.

    Args:
        model (Model): a network whose task has figures to measure.
        data (Any): a folder with one folder a class, or with such folders below test/, validation/ and train/; for a
            segmenter, a folder with images/ and masks/; a Parquet file, or a folder or glob of them; "owner/name" of a
            data set of the Hub; `zoo.samples(...)`; a pair (images, labels), uint8 (N, H, W, 3) and integers (N,); or,
            for a network of texts, (texts, labels).
        split (str | None): the part to measure. Default: None, the first that there is of "test", "validation" and
            "train".
        batch_size (int | None): examples that go through the network together. Default: None, 250 pictures or 32
            texts.
        input_columns (Sequence[str]): columns of a table that hold the input. Default: "img" or "image"; "text" or
            "sentence"; the two columns of a pair as well-known data sets name them, such as "sentence1", "sentence2";
            "question" and "context"; the "tokens" of a token classifier.
        label_column (str | None): the column of a table that holds the label. Default: None, "label"; "answers" to
            questions; "ner_tags" of tokens.
        ignore_index (int | None): the value of pixels without a class, in masks. Default: None, that of the file's
            metadata, or 255.
        skip_damaged (bool): leave out and count pictures whose mask or boxes are damaged or do not fit them; else the
            first is an error. Default: False.
        resamples (int): how often examples are drawn again, for 95% intervals of a recommender's figures (bootstrap).
            Default: 0, no intervals.
        group_column (str | None): the column of a table that says whose an example is, such as "user_id": examples of
            one are alike, and are drawn together. Default: None, each example is drawn by itself.
        progress (bool): whether a bar is drawn on stderr. Default: False.

    Returns:
        An `Evaluation`.

    Raises:
        ValueError: `model` is no zoo model, the data has another form or labels that the network does not know, the
            network has no classifier, or an answer is not finite.

    Example:
        >>> images, labels = zoo.samples()
        >>> measured = zoo.evaluate(zoo.create("resnet20"), (images[:20], labels[:20]))
        >>> measured.metric, measured.value, measured.examples
        ('top-1 accuracy', 85.0, 20)
    """
    if not isinstance(getattr(model, "spec", None), ModelSpec):
        raise not_a_model("evaluate", model)
    check_flag("progress", progress)
    if batch_size is None:
        batch_size = tasks.batch_of(model.spec)
    check_whole("batch_size", batch_size, 1)
    task, last = tasks.of(model.spec), model.spec.rows[-1]
    if not (task.judge and kinds.head(model.spec)):
        raise ValueError(
            f"This {model.spec.name} ends in {last.name!r}, not in a classifier: evaluate has no figure "
            f"for its task ({task.name})."
        )
    check_whole("resamples", resamples, 0)
    check_told(group_column=group_column)
    if group_column is not None and not resamples:
        raise ValueError("group_column= is for intervals: give resamples= too, such as 1000.")
    if resamples and not task.binary:
        raise ValueError(
            f"resamples= is for networks that say yes or no of a row, and {model.spec.name} is for {task.name}."
        )
    if task.continues:
        idle = {"label_column": label_column, "ignore_index": ignore_index, "skip_damaged": skip_damaged or None}
        return _of_continuations(model, data, split, input_columns, batch_size, progress, idle)
    check_flag("skip_damaged", skip_damaged)
    if ignore_index is not None:
        check_whole("ignore_index", ignore_index)
    examples = open_labelled_data(
        data,
        model,
        split=split,
        input_columns=input_columns,
        label_column=label_column,
        ignore_index=ignore_index,
        skip_damaged=skip_damaged,
    )
    metric = task.metrics[0]
    make_judge: Callable[[], Judge] = partial(task.fetch("judge"), metric.name, examples.source)
    judge = make_judge()
    groups = None if group_column is None else _groups(examples, group_column)
    began = time.perf_counter()
    skipped = judge_answers(model, examples, judge, batch_size=batch_size, progress=progress)
    seconds = time.perf_counter() - began
    figures = dict(judge.figures())
    ends = {}
    if resamples:
        outputs, answers = judge.answered()  # type: ignore[attr-defined]
        ends = intervals(outputs, answers.tolist(), make_judge, groups=groups, resamples=resamples)
    return Evaluation(
        metric=metric.name,
        value=figures[metric.name],
        examples=len(examples.labels) - len(skipped),
        source=examples.source,
        sha256=examples.sha256,
        seconds=seconds,
        per_class={class_name(model, label): value for label, value in judge.per_class().items()},
        skipped=tuple(skipped),
        what=model.spec.input.unit,
        metrics=figures,
        unit=metric.unit,
        intervals=ends,
        units=_units(task, figures),
        class_metric=getattr(judge, "of_a_class", metric.name),
    )


def _of_continuations(
    model: Model,
    data: Any,
    split: str | None,
    input_columns: Sequence[str],
    batch_size: int,
    progress: bool,
    idle: dict[str, Any],
) -> Evaluation:
    """Measure a network that continues texts, on texts in files: pieces as long as the network takes."""
    if told := [f"{name}=" for name, value in idle.items() if value is not None]:
        raise ValueError(f"{', '.join(told)}: a text that is continued has no labels, masks or boxes.")
    if not isinstance(data, (str, Path)):
        raise ValueError(f"data of {model.spec.name} is a file of texts, or a data set of the Hub, by its name.")
    chosen = split or first_of(EVALUATION, tasks.splits(model.spec, data), data)
    columns = {"learned": model.tokenizer, "input_columns": input_columns}
    pieces = replace(tasks.loader(model.spec)(data, model.spec.input, split=chosen, **columns), shifts=False)
    metric = tasks.of(model.spec).metrics[0]
    judge = tasks.of(model.spec).fetch("judge")(metric.name, pieces.source)
    judge.tokens_per_character = pieces.tokens_per_character
    began, training = time.perf_counter(), model.training
    model.eval()
    try:
        batches = list(torch.arange(len(pieces)).split(batch_size))
        stream = pieces.stream(batches, 0)
        with torch.inference_mode():
            for _ in _track(range(len(batches)), progress):
                inputs, targets = next(stream)
                judge.add(answer(model, to_device(inputs, model.device)), targets)
    finally:
        model.train(training)
    figures = dict(judge.figures())
    return Evaluation(
        metric=metric.name,
        value=figures[metric.name],
        examples=len(pieces),
        source=pieces.source,
        sha256=pieces.sha256,
        seconds=time.perf_counter() - began,
        per_class={},
        skipped=pieces.skipped,
        what=f"pieces of {pieces.length} tokens",
        metrics=figures,
        unit=metric.unit,
        units=_units(tasks.of(model.spec), figures),
    )


def _units(task: tasks.Task, figures: dict[str, float]) -> dict[str, str]:
    """The unit of each figure; that of the main one where the task does not tell, as of precision beside F1."""
    known = {one.name: one.unit for one in task.metrics}
    return {name: known.get(name, task.metrics[0].unit) for name in figures}


def _groups(examples: LabelledData, column: str) -> list[int]:
    """A number for each different value of a column, row by row."""
    if not examples.files:
        raise ValueError("group_column= names a column of a table, and the data is none.")
    known: dict[Any, int] = {}
    found: list[int] = []
    for batch in TableFiles(examples.files, examples.source).batches([column]):
        try:
            found += [known.setdefault(value, len(known)) for value in batch.column(0).to_pylist()]
        except TypeError:  # lists
            raise ValueError(
                f"{examples.source} has {batch.column(0).type} in the column {column!r}: no groups."
            ) from None
    return found


def labelled_answers(
    model: Model, data: LabelledData, *, batch_size: int, progress: bool = False
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """(labels, answers, names of unreadable examples); raises ValueError if no example is readable."""
    judge = Accuracy("accuracy", data.source)
    skipped = judge_answers(model, data, judge, batch_size=batch_size, progress=progress)
    return judge.labels, judge.answers, skipped


def judge_answers(
    model: Model, data: LabelledData, judge: Judge, *, batch_size: int, progress: bool = False
) -> list[str]:
    """Add the answers to `judge`; returns the names of unreadable examples. Raises ValueError if all are."""
    prepare = preprocess(model)
    skipped: list[str] = []
    training = model.training
    model.eval()
    read = iter(data.examples)
    try:
        with torch.inference_mode():
            for start in _track(range(len(data.labels))[::batch_size], progress):
                batch, targets = [], []
                for place, example in enumerate(islice(read, batch_size), start):
                    if (ready := _ready(prepare, example)) is None:
                        skipped.append(data.names[place])
                    else:
                        batch.append(ready)
                        targets.append(data.labels[place])
                if batch:
                    judge.add(_outputs(model, prepare, batch), targets)
    finally:
        model.train(training)
    if len(skipped) == len(data.labels):
        what = model.spec.input.unit
        if not skipped:
            raise ValueError(f"{data.source} holds no {what}.")
        raise ValueError(f"None of the {len(skipped)} {what} of {data.source} can be read; {skipped[0]} is one.")
    return skipped


def _ready(prepare: Any, example: Any) -> Any:
    """Prepare one example: a text stays as it is, a picture is resized and cut. None if it cannot be read."""
    if example is None or not hasattr(prepare, "cut"):
        return example
    try:
        return prepare.cut(example)
    except (ImageError, FileNotFoundError):
        return None


def _outputs(model: Model, prepare: Any, batch: list[Any]) -> Any:
    """What the task's judge sees of a batch: its own answers, else the network's main output, in its precision."""
    if tasks.of(model.spec).predicted:
        return tasks.of(model.spec).fetch("predicted")(model, batch)
    inputs = prepare.normalize(np.stack(batch)) if hasattr(prepare, "cut") else prepare(batch)
    if isinstance(inputs, torch.Tensor):
        changes = inputs.is_floating_point() and not model.spec.input.double
        inputs = inputs.to(model.device, model.dtype if changes else inputs.dtype)
        found = model(inputs)
        check_answer(model, found, inputs)
    else:
        named = {name: part.to(model.device) for name, part in inputs.items()}
        found = model(**named).answer
        check_answer(model, found, **named)
    return found


def _track(steps: range, progress: bool) -> Any:
    if not progress:
        return steps
    from rich.console import Console
    from rich.progress import track

    return track(steps, description="Evaluating", console=Console(stderr=True), transient=True)
