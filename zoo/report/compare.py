"""Compare networks: size, accuracy, memory and time of each."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from zoo import catalog, kinds, tasks
from zoo.catalog import hub_index, listing, manifest
from zoo.catalog.info import info
from zoo.catalog.manifest import Entry
from zoo.checks import check_whole
from zoo.data.labelled_data import open_labelled_data
from zoo.data.preprocess import preprocess
from zoo.data.samples import available, samples
from zoo.engine.cpu.integers import fits
from zoo.factory import open_model
from zoo.naming import parse
from zoo.report import memory, timing
from zoo.report.comparison import Comparison, Row
from zoo.report.evaluate import Evaluation, evaluate, labelled_answers
from zoo.tasks.metrics import choices, percent_equal

if TYPE_CHECKING:
    from zoo.model.build import Model

RESAMPLES = 200  # of a recommender's rows, for its intervals


def compare(
    family_or_names: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] = "mobilenet",
    *,
    images: int | None = None,
    data: Any = None,
    group_column: str | None = None,
    progress: Callable[[str], None] = lambda step: None,
) -> Comparison:
    """Measure the size, accuracy, agreement, memory and time of networks, relative to the first one.

    Six small networks take about half a minute.

    Args:
        family_or_names (str | os.PathLike | Sequence): a family, for its dense network and every variant that ships;
            one variant, beside its dense network; or a list of names, and of paths of saved networks. What is
            published on the Hub is downloaded first. Default: "mobilenet".
        images (int | None): how many shipped test pictures are answered. Default: None, 200.
        data (Any): labelled examples of your own instead, as `zoo.evaluate` takes them. Default: None.
        group_column (str | None): for recommenders, the column of `data` that says whose a row is, such as "user_id":
            rows of one are alike, and are drawn together for the intervals. Default: None, each row by itself.
        progress (Callable[[str], None]): called with a line of text at each step. Default: does nothing.

    Returns:
        A `Comparison`.

    Raises:
        UnknownName: a name stands for no network.
        FileError: a path holds no network.
        ValueError: `images` is out of range or beside `data`, `data` cannot be read, or no weights ship for a name.

    Example:
        >>> table = zoo.compare(["resnet20", "resnet20-int8"], images=20)
        >>> [(row.variant, row.bytes, row.accuracy) for row in table.rows]
        [('dense', ..., 85.0), ('int8', ..., 85.0)]
    """
    names = _names(family_or_names)
    entries = [None if listing.is_path(name) else listing.find(name)[1] for name in names]
    if images is not None and data is not None:
        raise ValueError("images= is how many of the shipped pictures are answered, and data= is answered whole.")
    if group_column is not None and data is None:
        raise ValueError("group_column= is a column of data=, and there is none.")
    pictures, labels, classes = _pictures(entries, 200 if images is None else images)
    models: list[Model] = []
    for name in names:
        progress(f"opening {name}")
        models.append(open_model(name))
    if images is not None and not pictures:
        raise ValueError(
            f"images= is how many shipped test pictures are answered, and none ship for {names[0]}: data=."
        )
    answers: list[np.ndarray] = []
    source, figures, count = "", None, len(labels)
    task = tasks.of(models[0].spec)
    if data is not None and not task.has_classes:
        progress("answering your data")
        figures, count, source = _figures(models, data, group_column)
    elif data is not None:
        if group_column is not None:
            raise ValueError(f"group_column= is for recommenders, and {models[0].spec.name} is for {task.name}.")
        classes = models[0].labels
        progress("answering your data")
        labels, answers, source = _on_data(models, data)
        count = len(labels)
    else:
        for name, model in zip(names, models, strict=True):
            progress(f"{name} looks at {len(labels)} pictures")
            answers.append(_answers(model, pictures))
    progress("peak memory, in fresh processes")
    files = [str(entry.path) if entry else name for name, entry in zip(names, entries, strict=True)]
    peaks = memory.peak_memory(files)
    progress("time at batch 1")
    one, rounds_1 = timing.median_times(models, [m.spec.input.example(1) for m in models], seconds=4)
    progress("time at batch 32")
    many, rounds_32 = timing.median_times(models, [m.spec.input.example(32) for m in models], seconds=8)
    rows = [
        Row(
            name=entry.name if entry else name,
            variant=parse(entry.name).variant if entry else Path(name).name,
            parameters=kinds.cost(model.spec).parameters,
            nonzero=entry.nonzero if entry else None,
            macs=kinds.cost(model.spec).macs,
            bytes=entry.bytes if entry else _bytes(name),
            peak_memory=peaks[i],
            metrics=dict(figures[i].metrics) if figures else {},
            intervals=dict(figures[i].intervals) if figures else {},
            full_interval=entry.metric.interval if entry else (),
            accuracy=figures[i].value
            if figures
            else _accuracy(answers, i, labels)
            if model.labels == classes
            else None,
            agreement=percent_equal(answers[i], answers[0])
            if _answered(answers) and _same_task(model, models[0])
            else None,
            full_accuracy=entry.metric.value if entry else None,
            time_batch_1=one[i] / one[0],
            time_batch_32=many[i] / many[0],
        )
        for i, (name, entry, model) in enumerate(zip(names, entries, models, strict=True))
    ]
    known = next((entry for entry in entries if entry), None)
    return Comparison(
        rows=tuple(rows),
        purpose=known.purpose if known else listing.purpose(models[0].spec),
        images=count,
        source=source,
        metric=task.metrics[0].name if task.metrics else "top-1 accuracy",
        one=models[0].spec.input.one,
        full_test=_full_test(known, models[0]) if known else "",
        rounds=(rounds_1, rounds_32),
        seconds=(one[0], many[0] / 32),
        threads=torch.get_num_threads(),
        cpu=timing.cpu_name(),
        torch=torch.__version__,
        reference=not all(map(fits, models)),
        groups=group_column or "",
    )


def _names(family_or_names: Any) -> list[str]:
    family_or_names = _text(family_or_names)
    if not isinstance(family_or_names, str):
        if not isinstance(family_or_names, Sequence):
            raise ValueError(
                f"compare takes a family's name, or names and paths in a list, not {type(family_or_names).__name__}."
            )
        names = [_text(name) for name in family_or_names]
        if not names:
            raise ValueError("compare needs a family's name, or at least one network's.")
        for name in names:
            _check_has_weights(name)
        return names
    if listing.is_path(family_or_names):
        return [family_or_names]
    name = _check_has_weights(family_or_names)
    known = {*manifest.entries(), *hub_index.published()}
    if name.passes:  # one variant; its dense network is added if it has weights
        return [*([name.dense] if name.dense in known else []), str(name)]
    if name.dense in hub_index.published():
        return [name.dense]
    return [text for text in manifest.entries() if parse(text).dense == name.dense]


def _text(name: Any) -> Any:
    """A path as a string that cannot be read as a model's name; other values as they are."""
    if not isinstance(name, os.PathLike):
        return name
    path = str(os.fspath(name))
    return path if listing.is_path(path) else os.path.join(os.curdir, path)


def _check_has_weights(text: str) -> Any:
    if listing.is_path(text):
        return None
    name, entry = listing.find(text)
    if entry is None and name.dense not in hub_index.published():
        shipped = sorted({parse(other).dense for other in manifest.entries()})
        raise ValueError(
            f"No weights are known for {text!r}, so there is nothing to compare; shipped: {', '.join(shipped)}."
        )
    return name


def _bytes(name: str) -> int:
    """The size of the weights that a path, or a name whose weights do not ship, stands for."""
    return info(name if listing.is_path(name) else catalog.resolve(name).fetch() or name).bytes or 0


def _pictures(entries: Sequence[Entry | None], images: int) -> tuple[list[np.ndarray], np.ndarray, tuple[str, ...]]:
    """The first `images` test pictures of the first shipped network's data set, their labels, and the class names.

    All are empty if no test pictures ship.
    """
    check_whole("images", images, 1)
    datasets = [parse(entry.name).tag for entry in entries if entry]
    if not datasets or (datasets[0], "test") not in available():
        return [], np.array([], dtype=np.int64), ()
    found = samples(datasets[0], "test")
    if images > len(found.labels):
        raise ValueError(f"images is at most {len(found.labels)}, the number of shipped test pictures, not {images}.")
    return list(found.images[:images]), found.labels[:images], found.classes


def _full_test(entry: Entry, model: Model) -> str:
    return f"{entry.metric.dataset} {entry.metric.split}, {entry.metric.examples:,} {model.spec.input.unit}"


def _accuracy(answers: Sequence[np.ndarray], place: int, labels: np.ndarray) -> float | None:
    return percent_equal(answers[place], labels) if len(labels) else None


def _figures(models: Sequence[Model], data: Any, group_column: str | None) -> tuple[list[Evaluation], int, str]:
    """(the figures of each model, how many examples there are, their source), of models of one task."""
    names = {tasks.of(model.spec).name for model in models}
    if len(names) > 1:
        raise ValueError(f"These networks have several tasks ({', '.join(sorted(names))}); compare those of one.")
    drawn: dict[str, Any] = {}
    if tasks.of(models[0].spec).binary:
        drawn = {"resamples": RESAMPLES, "group_column": group_column}
    elif group_column is not None:
        raise ValueError(f"group_column= is for recommenders, and {models[0].spec.name} is for {names.pop()}.")
    found = [evaluate(model, data, **drawn) for model in models]
    return found, found[0].examples, found[0].source


def _on_data(models: Sequence[Model], data: Any) -> tuple[np.ndarray, list[np.ndarray], str]:
    """(labels, the answers of each model, the source of the examples)."""
    answers = []
    for model in models:
        if not (task := tasks.of(model.spec)).has_classes:
            raise ValueError(f"{model.spec.name} has no classes; zoo.evaluate measures its task ({task.name}).")
        labelled = open_labelled_data(data, model)
        labels, found, _ = labelled_answers(model, labelled, batch_size=32)
        answers.append(found)
    if len({len(found) for found in answers}) > 1:
        raise ValueError(f"{labelled.source}: not every network can read the same examples; evaluate them one by one.")
    return labels, answers, labelled.source


def _answers(model: Model, pictures: list[np.ndarray]) -> np.ndarray:
    if not pictures:
        return np.array([])
    prepare = preprocess(model)
    with torch.inference_mode():
        found = [choices(model(prepare(pictures[i : i + 50]))) for i in range(0, len(pictures), 50)]
    return np.concatenate(found)


def _answered(answers: Sequence[np.ndarray]) -> bool:
    return bool(answers) and len(answers[0]) > 0


def _same_task(model: Model, other: Model) -> bool:
    return model.labels == other.labels and kinds.classes(model.spec) == kinds.classes(other.spec)
