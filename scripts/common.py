"""What the four training scripts share: where pictures come from, which network starts, and how an end is told."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import tyro
from rich.console import Console
from rich.text import Text

import zoo
from zoo import registry
from zoo.build import Model
from zoo.factory import check_device, with_classes
from zoo.train.data import hold_out, open_pictures, splits
from zoo.train.loop import Interrupted, accuracy
from zoo.train.pictures import Pictures
from zoo.train.trouble import Diverged


@dataclass(frozen=True, kw_only=True)
class Common:
    data: str
    """A folder of class folders, Parquet files, or a data set of the Hub."""
    out: Path
    """Folder for the network; checkpoints, curves and figures go to its training/."""
    image_column: str | None = None
    """Where Parquet files or a data set of the Hub keep their pictures; default: img or image."""
    label_column: str | None = None
    """Where they keep the labels; default: label."""
    held_out: float = 0.1
    """Share of the training pictures to choose by, where the data has no validation split; 0: train on all."""
    device: str = "cpu"
    """What trains: cpu, cuda, mps."""
    threads: int = 0
    """Processor threads; 0: torch's choice."""
    workers: int = 2
    """Processes that decode pictures, where there are too many to keep in memory."""
    save_seconds: float = 300
    """Longest time between two checkpoints; there is one behind every epoch anyway."""


@dataclass(frozen=True)
class Data:
    """The pictures of a run; `test` is looked at once, at its end."""

    train: Pictures
    validation: Pictures | None
    test: Pictures | None


def open_data(settings: Common, model: Model) -> Data:
    """The splits of `settings.data` as `model` takes them; a part of train is held out where none is for validation.

    Classes that the network knows are numbered as it numbers them.
    """
    found = splits(settings.data)
    opened = partial(
        open_pictures,
        settings.data,
        model.spec.input,
        workers=settings.workers,
        image_column=settings.image_column,
        label_column=settings.label_column,
    )
    train = opened(split="train")
    if train.classes != model.labels and set(train.classes) == set(model.labels):
        train = opened(split="train", classes=model.labels)

    def other(names: tuple[str, ...]) -> Pictures | None:
        name = next((name for name in names if name in found), None)
        if name is None:
            return None
        return opened(split=name, classes=train.classes)

    validation = other(("validation", "val", "valid", "dev"))
    if validation is None and settings.held_out:
        train, validation = hold_out(train, settings.held_out)
    return Data(train, validation, other(("test",)))


def open_model(name: str, *, fresh: bool = False) -> Model:
    """The network of a name or a saved folder; with `fresh`, the same rows with random weights, all of them float32."""
    if fresh and name in registry.MODELS:
        return zoo.create(name, weights=None)
    model = zoo.load(name) if Path(name).exists() else zoo.create(name)
    if not fresh:
        return model
    rows = tuple(row.replace(precision="float32", emits="float32") for row in model.spec)
    return zoo.build(model.spec.replace(rows=rows))


def for_classes(model: Model, classes: tuple[str, ...]) -> Model:
    """The network itself where it knows these classes, else its trunk under a new head."""
    if tuple(model.labels) == classes:
        return model
    if model.spec.rows[-1].args.get("num_classes") == len(classes):  # as many as before, but others
        model = with_classes(model, len(classes) + 1)
    model = with_classes(model, len(classes))
    model.labels = classes
    return model


def open_teachers(names: tuple[str, ...], classes: tuple[str, ...]) -> list[Model]:
    """The networks of these names, which must know the classes that are taught."""
    teachers = [open_model(name) for name in names]
    for name, teacher in zip(names, teachers, strict=True):
        check_classes(name, teacher, classes)
    return teachers


def check_classes(name: str, model: Model, classes: tuple[str, ...]) -> None:
    """Raise ValueError where the network knows others; scripts/finetune.py teaches it these."""
    if tuple(model.labels) != classes:
        raise ValueError(
            f"{name} knows other classes than the data has: {_some(model.labels)}; {_some(classes)}. "
            "Fine-tune it first."
        )


def recipe_of(settings: Any) -> dict[str, Any]:
    """What tells this run from others beside its recipe and data: the settings that decide the weights."""
    apart = {"out", "device", "threads", "workers", "save_seconds", "recipe", "data"}
    return {name: str(value) for name, value in asdict(settings).items() if name not in apart}


def show(model: Model, data: Data, out: Path, before: dict[str, Model] | None = None) -> None:
    """One table on stdout: the network's figures, beside those of the ones it is compared with."""
    from zoo import kinds, tables

    judged, name = (data.test, "test") if data.test is not None else (data.validation, "validation")
    headers, rows = ["network", "parameters", "MACs", "file", f"{name} top-1 %"], []
    for title, one in {**(before or {}), str(out): model}.items():
        cost = kinds.cost(one.spec)
        file = out / "model.safetensors" if one is model else None
        top1 = f"{accuracy(one, judged):.2f}" if judged is not None else ""
        size = tables.size(file.stat().st_size) if file else ""
        rows.append([title, tables.count(cost.parameters), tables.count(cost.macs), size, top1])
    print(tables.text(headers, rows))
    skipped = data.train.skipped
    if skipped:
        shown = ", ".join(skipped[:5]) + (", ..." if len(skipped) > 5 else "")
        print(f"{len(skipped)} training pictures could not be read and were left out: {shown}")


def _some(names: tuple[str, ...]) -> str:
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "") if names else "none are named"


def main(settings: type, run: Callable[[Any], None]) -> None:
    """Read the command line, run, and tell what went wrong in one line."""
    try:
        chosen = tyro.cli(settings, description=sys.modules["__main__"].__doc__)
        check_device(chosen.device)
        if chosen.threads < 0 or chosen.workers < 0:
            raise ValueError(f"threads and workers are at least 0, not {chosen.threads} and {chosen.workers}.")
        if chosen.threads:
            torch.set_num_threads(chosen.threads)
        run(chosen)
    except (ValueError, OSError, Diverged) as error:
        Console(stderr=True).print(Text(str(error), style="red"), soft_wrap=True)
        raise SystemExit(2) from None
    except Interrupted:
        raise SystemExit(130) from None
