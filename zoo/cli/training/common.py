"""Functions of the commands that train: open the pictures and the networks, and show the result."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import typer

import zoo
from zoo import kinds, registry, tasks
from zoo.checks import MAX_THREADS
from zoo.cli.common import misspelt
from zoo.cli.once import Once
from zoo.cli.options import Command, build, parameters
from zoo.cli.screen import remark
from zoo.data.classes import ClassError, match
from zoo.data.splits import first_of
from zoo.factory import with_classes
from zoo.files import lines_of, local_path, path_to_write
from zoo.model.build import Model
from zoo.model.defaults import check_device
from zoo.model.editing import with_size
from zoo.passes.options import Options, option
from zoo.passes.qat import check_rows
from zoo.printable import printable
from zoo.train.data import hold_out
from zoo.train.loop import accuracy
from zoo.train.pictures import Pictures


@dataclass(frozen=True, kw_only=True)
class Common(Options):
    data: str = option(
        help="A folder with a folder for every class, or with images/ and masks/; Parquet files, and CSV for "
        "recommenders and texts, also JSON lines; or a data set of the Hub."
    )
    out: Path = option(
        help="The folder for the network. Checkpoints, curves and figures go to its subfolder training/."
    )
    image_column: str | None = option(
        None, "The column with the pictures, in Parquet files or a data set of the Hub. Default: img or image."
    )
    input_column: tuple[str, ...] = option(
        (), "The column with the texts; repeat it for the second text of a pair. Default: text, sentence, ..."
    )
    max_tokens: int | None = option(
        None,
        "The most tokens of a text; longer ones are cut, and counted. Default: as many as the network takes.",
        least=1,
    )
    label_column: str | None = option(
        None, "The column with the labels or masks. Default: label, or mask; of a recommender also click or target."
    )
    ignore_index: int | None = option(
        None, "The value of pixels without a class, in masks. Default: that of the file's metadata, or 255.", least=0
    )
    class_names: str | None = option(
        None, "Names of the classes of masks without names: separated by commas, or a text file with one a line."
    )
    skip_damaged: bool = option(
        False, "Leave out and count pictures whose mask or boxes are damaged. Without it, the first is an error."
    )
    held_out: float = option(
        0.1,
        least=0,
        below=1,
        help="Share of the training examples to validate on, if the data has no validation split. 0: train on all.",
    )
    device: str = option("cpu", "The device: cpu, cuda or mps.")
    threads: int = option(0, least=0, most=MAX_THREADS, help="Number of CPU threads. 0: torch chooses.")
    workers: int = option(
        2, least=0, help="Number of processes that decode pictures, if the pictures do not fit in memory."
    )
    save_seconds: float = option(
        300, least=0, help="Longest time between two checkpoints, in seconds. There is one after every epoch anyway."
    )


@dataclass(frozen=True)
class Data:
    """The pictures of a run. `test` is used only once, at the end."""

    train: Pictures
    validation: Pictures | None
    test: Pictures | None


def open_data(settings: Common, model: Model) -> Data:
    """The splits of `settings.data`, prepared for `model`. Without a validation split, a part of train is held out.

    Classes that the network knows have the network's numbers.
    """
    own = {**_of_pairs(settings, model), **_of_texts(settings, model)}
    remark(f"Reading {printable(settings.data)}.")
    found = tasks.splits(model.spec, settings.data)
    learned = model.spec.input.learned
    opened = partial(
        tasks.loader(model.spec),
        settings.data,
        model.spec.input,
        workers=settings.workers,
        image_column=settings.image_column,
        label_column=settings.label_column,
        **({"learned": getattr(model, learned)} if learned else {}),
        **own,
    )
    train = opened(split="train")
    if cut := getattr(train, "cut", 0):
        remark(f"{cut:,} of {len(train):,} texts are longer than {_length(settings, model):,} tokens, and are cut.")
    by_number = not getattr(train, "named", True) and len(train.classes) == len(model.labels)
    if by_number:
        remark(f"The data does not name its {len(train.classes)} classes; they have the network's names, in order.")
    if train.classes != model.labels and (by_number or _are_all_of(train.classes, model.labels, settings.data)):
        train = opened(split="train", classes=model.labels)

    def other(names: tuple[str, ...]) -> Pictures | None:
        name = first_of(names, found, settings.data)
        if name is None:
            return None
        return opened(split=name, classes=train.classes)

    validation = other(("validation", "val", "valid", "dev"))
    if validation is not None and settings.held_out != Common.held_out:
        raise ValueError("held_out= is for data without a validation split, and this data has one.")
    if validation is None and settings.held_out:
        train, validation = hold_out(train, settings.held_out)
    return Data(train, validation, other(("test",)))


def _of_pairs(settings: Common, model: Model) -> dict[str, Any]:
    """The options of pictures with targets of their pixels; raises ValueError where they would be ignored."""
    named = ("ignore_index", "class_names", "skip_damaged")
    if tasks.of(model.spec).pairs:
        names = _names(settings.class_names) if settings.class_names else ()
        return {**{name: getattr(settings, name) for name in named}, "class_names": names}
    if idle := [f"{name}=" for name in named if getattr(settings, name) != getattr(Common, name)]:
        raise ValueError(f"{', '.join(idle)}: for masks and boxes, and {model.spec.name} is for {model.spec.task}.")
    return {}


def _of_texts(settings: Common, model: Model) -> dict[str, Any]:
    """The options of texts; raises ValueError where they would be ignored."""
    if model.spec.input.ids:
        return {"input_columns": settings.input_column, "max_tokens": settings.max_tokens}
    if idle := [f"{name}=" for name in ("input_column", "max_tokens") if getattr(settings, name)]:
        raise ValueError(f"{', '.join(idle)}: for texts, and {model.spec.name} takes {model.spec.input.unit}.")
    return {}


def _length(settings: Common, model: Model) -> int:
    return min(settings.max_tokens or model.spec.texts.length, model.spec.texts.length)


def _names(text: str) -> tuple[str, ...]:
    """Names separated by commas, or the lines of a file."""
    path = local_path(text)
    names = lines_of(path, "names of classes, one a line") if path.is_file() else text.split(",")
    names = [name.strip() for name in names]
    if not all(names) or len(set(names)) < len(names):
        raise ValueError(f"class_names= takes different names, separated by commas, or a file, not {text[:100]!r}.")
    return tuple(names)


def _are_all_of(classes: tuple[str, ...], labels: tuple[str, ...], where: str) -> bool:
    """Whether the data has exactly the network's classes, in any spelling, so that the network's head fits."""
    try:
        return len(match(classes, labels, where)) == len(labels)
    except ClassError:
        return False


def open_model(name: str, *, fresh: bool = False, settings: Common | None = None, like: Model | None = None) -> Model:
    """The network of a name or a saved folder. With `fresh`: the same rows in float32, with random weights.

    A name whose input follows from the data has the schema of `like`, or the one that `settings` name, or the data's.
    """
    if fresh and name in registry.MODELS:
        given = registry.spec(name).input
        if not given.fresh or settings is None:
            return zoo.create(name, weights=None)
        own = {one: getattr(settings, one, None) for one in given.fresh_options}
        made: Model = given.fetch("fresh")(name, settings.data, label_column=settings.label_column, like=like, **own)
        remark(f"{name} reads {made.spec.input.described}.")
        return made
    model = zoo.load(name) if local_path(name).exists() else zoo.create(name)
    if not model.spec.input.loader:
        raise ValueError(
            f"{name} is a {model.spec.name}, which takes {model.spec.input.unit}; the commands that train take "
            "networks of pictures, texts and table rows. docs/finetuning.md shows a loop of your own."
        )
    if not fresh:
        return model
    rows = tuple(row.replace(precision="float32", emits="float32") for row in model.spec)
    built = zoo.build(model.spec.replace(rows=rows))
    if model.spec.input.ids:
        built.tokenizer = model.tokenizer
    elif model.spec.input.learned:
        built.vocabulary.copy_(model.vocabulary)  # type: ignore[operator, arg-type, union-attr]
    return built


def of_size(model: Model, size: str | None) -> Model:
    """The network for pictures of "HEIGHTxWIDTH" pixels; itself for None."""
    if size is None:
        return model
    sides = size.lower().split("x")
    if len(sides) != 2 or not all(side.isascii() and side.isdecimal() and len(side) < 6 for side in sides):
        raise ValueError(f"input_size= is a height and a width, such as 360x480, not {size[:60]!r}.")
    return with_size(model, (int(sides[0]), int(sides[1])))


def for_classes(model: Model, classes: tuple[str, ...]) -> Model:
    """The network if it knows these classes, else its trunk with a new head."""
    if tuple(model.labels) == classes:
        return model
    if kinds.classes(model.spec) == len(classes):  # the same number of other classes
        model = with_classes(model, len(classes) + 1)
    model = with_classes(model, len(classes))
    model.labels = classes
    return model


def check_trainable(model: Model) -> None:
    """Raise ValueError for int8 rows that no training takes, before any data is read."""
    if any(row.precision.startswith("int8") for row in model.spec):
        check_rows(model.spec)


def open_teachers(names: tuple[str, ...], classes: tuple[str, ...]) -> list[Model]:
    """Open the teachers; each must know exactly the classes of the data."""
    teachers = [open_model(name) for name in names]
    for name, teacher in zip(names, teachers, strict=True):
        check_classes(name, teacher, classes)
    return teachers


def check_classes(name: str, model: Model, classes: tuple[str, ...]) -> None:
    """Raise ValueError if the network knows other classes; `zoo finetune` would teach it these."""
    if tuple(model.labels) != classes:
        raise ValueError(
            f"{name} knows other classes than the data has: {_some(model.labels)}. The data has: {_some(classes)}. "
            "Fine-tune the network on these classes first, with `zoo finetune`."
        )


def recipe_of(settings: Any) -> dict[str, Any]:
    """The settings, beside recipe and data, that decide the weights; they identify the run."""
    apart = {"out", "device", "threads", "workers", "save_seconds", "recipe", "data", "sharing"}
    later = {
        "dim": None,
        "vocabulary": None,
        "task": None,
        "input_column": (),
        "max_tokens": None,
    }  # runs of earlier releases go on
    return {
        name: str(value)
        for name, value in asdict(settings).items()
        if name not in apart and not (name in later and value == later[name])
    }


def show(model: Model, data: Data, out: Path, before: dict[str, Model] | None = None) -> None:
    """Print a table of the network's figures and of the networks in `before`."""
    from zoo import formatting

    judged, name = (data.test, "test") if data.test is not None else (data.validation, "validation")
    task = tasks.of(model.spec)
    figure = {"top-1 accuracy": "top-1 %"}.get(task.metrics[0].name, task.metrics[0].name)
    if judged is not None and task.binary and judged.labels.is_floating_point():  # type: ignore[attr-defined]
        remark(f"{judged.source} has shares of yes for labels, so no {figure} is measured: it needs labels 0 and 1.")
        judged = None
    headers, rows = ["network", "parameters", "MACs", "file", f"{name} {figure}"], []
    for title, one in {**(before or {}), str(out): model}.items():
        cost = kinds.cost(one.spec)
        file = out / "model.safetensors" if one is model else None
        top1 = f"{accuracy(one, judged):.2f}" if judged is not None else ""
        size = formatting.size(file.stat().st_size) if file else ""
        rows.append([title, formatting.count(cost.parameters), formatting.count(cost.macs), size, top1])
    print(formatting.text(headers, rows))
    skipped = data.train.skipped
    if skipped:
        shown = ", ".join(map(printable, skipped[:5])) + (", ..." if len(skipped) > 5 else "")
        print(f"{len(skipped)} training {model.spec.input.unit} could not be read and were left out: {shown}")


def _some(names: tuple[str, ...]) -> str:
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "") if names else "none are named"


def options_of(command: Any, take: Callable[..., None] = lambda **options: None) -> Command:
    """A command whose options are the fields of `command.Settings`; it hands what was typed to `take`."""
    return Command(lambda **options: take(**options), lambda: parameters(command.Settings))


def read(command: Any, arguments: Sequence[str], program: str | None) -> Any:
    """Make the command's Settings from its arguments; raises ValueError for invalid values."""
    typed: dict[str, Any] = {}
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    take = options_of(command, typed.update)
    app.command(cls=Once, help=_about(command), context_settings={"help_option_names": ["-h", "--help"]})(take)
    try:
        typer.main.get_command(app).main(args=list(arguments), prog_name=program, standalone_mode=False)
    except Exception as error:
        if not hasattr(error, "format_message"):  # typer's own errors have it
            raise
        raise SystemExit(misspelt(error)) from None
    if not typed:  # help was asked for
        raise SystemExit(0)
    chosen = build(command.Settings, typed)
    chosen = replace(chosen, out=path_to_write(chosen.out))
    check_device(chosen.device)
    if chosen.threads:
        torch.set_num_threads(chosen.threads)
    return chosen


def _about(command: Any) -> str:
    """The module's docstring for --help, with the line breaks of its example commands."""
    parts = (command.__doc__ or "").split("\n\n")
    return "\n\n".join(f"\b\n{part}" if part.startswith("    ") else part for part in parts)
