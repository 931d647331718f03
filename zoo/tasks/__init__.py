"""What networks answer, as data: a `Task` a kind of answer. Names are those of Hugging Face, where it has one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

from zoo import kinds
from zoo.lazy import fetch
from zoo.spec import ModelSpec
from zoo.tasks.task import CLASSES as CLASSES
from zoo.tasks.task import Metric as Metric
from zoo.tasks.task import Task as Task

TASKS: dict[str, Task] = {}
VERBS: dict[str, list[str]] = {}  # method of networks of texts -> the tasks that have it


def register(task: Task) -> Task:
    """Make a task known by its name, so that specs can name the task.

    Args:
        task (Task): the task.

    Returns:
        Task: the same task.

    Raises:
        ValueError: another task has the name.
    """
    if TASKS.setdefault(task.name, task) != task:
        raise ValueError(f"There is another task {task.name!r} already.")
    for verb in task.verbs:
        VERBS.setdefault(verb, []).append(task.name)
    return task


def of(spec: ModelSpec) -> Task:
    """The task of a spec: by its name, else (in files of others and of earlier versions) by its input and its head."""
    if spec.task in TASKS:
        return TASKS[spec.task]
    if kinds.per_pixel(spec):
        return TASKS["image-segmentation"]
    if kinds.classes(spec) and (named := f"{spec.input.type}-classification") in TASKS:
        return TASKS[named]
    return TASKS["token-classification" if kinds.outputs(spec) and spec.input.ids else "feature-extraction"]


def main_figure(spec: ModelSpec, answered: Iterable[tuple[Any, Sequence[Any]]], source: str) -> float:
    """The value of the task's main metric on batches of (main output, targets); `source` names them in errors."""
    task = of(spec)
    metric = task.metrics[0].name
    judge = task.fetch("judge")(metric, source)
    for outputs, targets in answered:
        judge.add(outputs, targets)
    return float(judge.figures()[metric])


def unit_of(metric: str) -> str:
    """What stands behind the value of a metric of any task: "%" or nothing."""
    units = (one.unit for task in TASKS.values() for one in task.metrics if one.name == metric)
    return next(units, "%")


def batch_of(spec: ModelSpec) -> int:
    """How many examples are evaluated together, where nobody says."""
    return of(spec).batch or spec.input.batch


def splits(spec: ModelSpec, data: Any) -> Sequence[str]:
    """The names of the splits of data for the training of such a network."""
    if of(spec).pairs:
        return of(spec).fetch("pairs").splits(data)  # type: ignore[no-any-return]
    return fetch("zoo.data.splits:splits")(data, spec.input.tables + of(spec).files)  # type: ignore[no-any-return]


def reader(spec: ModelSpec, columns: Sequence[str] = ()) -> Any:
    """What finds raw examples for such a network, in `columns` or in those with the task's usual names."""
    found = spec.input.fetch("reader")(spec, columns)
    found.usual = of(spec).columns
    return found


def loader(spec: ModelSpec) -> Any:
    """What opens data for the training of such a network: that of the task's pairs, else that of the input."""
    if of(spec).pairs:
        return partial(fetch("zoo.train.pairs:open_pairs"), of(spec).fetch("pairs"))
    return partial(spec.input.fetch("loader"), spec) if spec.input.ids else spec.input.fetch("loader")


def batches(spec: ModelSpec) -> Any:
    """The class that makes inputs of what `loader` opened."""
    return fetch("zoo.train.batches:PairBatches") if of(spec).pairs else spec.input.fetch("batches")


def model_class(spec: ModelSpec) -> Any:
    """The class of the network's call: that of the task for such an input, else that of the input."""
    if of(spec).objects and not kinds.outputs(spec):  # a part of a detector, which finds nothing
        return spec.input.fetch("model")
    special = of(spec).models.get(spec.input.type)
    return fetch(special) if special else spec.input.fetch("model")


def _classifying(name: str, metric: str) -> None:
    """The task itself, that of several labels at once, and that of scores without bounds, which other tools lack."""
    one: dict[str, Any] = {
        "metrics": (Metric(metric),),
        "judge": "zoo.tasks.metrics:Accuracy",
        "targets": CLASSES,
        "shown": "zoo.tasks.answers:Top",
    }
    if name.startswith("text"):
        one |= {"answered": "zoo.text.classifying:shown", "verbs": {"classify": "zoo.text.classifying:classify"}}
    loss = "zoo.tasks.objectives:of_classes"
    layout = "zoo.tasks.objectives:as_classes"
    texts = "zoo.train.text_classes:classified" if name.startswith("text") else ""
    register(Task(name, "probability", "softmax", loss=loss, layout=layout, texts=texts, chooses=True, **one))
    several = f"multi-label-{name}"
    register(Task(several, "probability", "sigmoid", usual=name, loss=loss, chooses=True, **one))
    scoring = name.replace("classification", "scoring")
    register(Task(scoring, "score", usual=name, loss=loss, **one))


_classifying("image-classification", "top-1 accuracy")
_classifying("text-classification", "accuracy")
register(
    Task(
        "token-classification",
        "probability",
        "softmax",
        metrics=(Metric("F1", hub="f1"), Metric("accuracy")),
        judge="zoo.tasks.tags:SpanMetrics",
        targets="zoo.tasks.tags:Tags",
        loss="zoo.tasks.objectives:of_tokens",
        layout="zoo.tasks.objectives:as_tokens",
        texts="zoo.train.tagged:tagged",
        answered="zoo.text.tagging:shown",
        predicted="zoo.text.tagging:words",
        verbs={"tag": "zoo.text.tagging:tag"},
        columns=(("tokens",), ("words",)),
        chooses=True,
    )
)
register(
    Task(
        "question-answering",
        "probability",
        "softmax",
        metrics=(Metric("F1", hub="f1"), Metric("exact match", hub="exact_match")),
        judge="zoo.tasks.questions:AnswerMetrics",
        targets="zoo.tasks.questions:Answers",
        loss="zoo.tasks.objectives:of_spans",
        layout="zoo.tasks.objectives:as_spans",
        texts="zoo.train.questions:answered",
        predicted="zoo.text.answering:found_in",
        verbs={"answer": "zoo.text.answering:answer"},
        columns=(("question", "context"),),
    )
)
register(
    Task(
        "text-generation",
        "probability",
        "softmax",
        metrics=(
            Metric("perplexity", "", higher_is_better=False, hub="perplexity"),
            Metric("bits per character", "", higher_is_better=False, hub="bits_per_character"),
        ),
        judge="zoo.tasks.continuation:Perplexity",
        loss="zoo.tasks.objectives:of_next_token",
        layout="zoo.tasks.objectives:as_next_tokens",
        texts="zoo.train.continued:continued",
        files=(".txt",),
        continues=True,
        models={"text": "zoo.text.decoder:TextDecoder"},
    )
)
register(
    Task("translation", "probability", "softmax", loss="zoo.tasks.objectives:of_tokens", batch=512,
         layout="zoo.tasks.objectives:as_tokens", texts="zoo.train.translations:translations",
         taught="zoo.train.sequence_level:taught",
         metrics=(Metric("BLEU", "", hub="bleu"), Metric("chrF", "", hub="chrf")),
         judge="zoo.tasks.translation:TranslationMetrics", targets="zoo.tasks.translation:References",
         predicted="zoo.tasks.translation:translated", models={"text": "zoo.text.translator:Translator"},
         signature="zoo.text.translator:no_export", runner="zoo.text.translator:no_export")
)  # fmt: skip
register(
    Task(
        "tabular-classification",
        "probability",
        "sigmoid",
        metrics=(Metric("AUC", hub="roc_auc"), Metric("log loss", "", higher_is_better=False, hub="log_loss")),
        judge="zoo.tasks.binary:BinaryMetrics",
        targets="zoo.tasks.binary:BinaryTargets",
        loss="zoo.tasks.objectives:of_binary",
        layout="zoo.tasks.objectives:as_pairs",
        shown="zoo.tasks.binary:Score",
        binary=True,
    )
)
register(
    Task(
        "image-segmentation",
        "probability",
        "softmax",
        metrics=(Metric("mIoU", hub="mean_iou"), Metric("pixel accuracy")),
        judge="zoo.tasks.segmentation:PixelMetrics",
        targets="zoo.tasks.segmentation:Masks",
        loss="zoo.tasks.objectives:of_pixels",
        layout="zoo.tasks.objectives:as_pixels",
        shown="zoo.tasks.segmentation:Regions",
        chooses=True,
        pixels=True,
        pairs="zoo.data.masks:MASK_DATA",
        batch=8,
    )
)
register(
    Task(
        "object-detection",
        "score",
        metrics=(Metric("AP", hub="mAP"), Metric("AP50", hub="mAP@50")),
        judge="zoo.tasks.detection:AveragePrecision",
        targets="zoo.tasks.detection:Boxes",
        pairs="zoo.data.boxes:BOX_DATA",
        shown="zoo.detection.shown:Objects",
        objective="zoo.detection.objective:DetectionObjective",
        objects=True,
        alike="zoo.detection.alike:found_by_both",
        batch=8,
        signature="zoo.detection.runtime:signature",
        runner="zoo.detection.runtime:DetectorRuntimeModel",
        models={"image": "zoo.detection.model:Detector"},
    )
)
register(Task("feature-extraction", "features"))
register(Task("sentence-similarity", "features"))
