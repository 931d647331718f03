"""`info`: the facts about one network, without torch."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from types import MappingProxyType
from typing import Any

from zoo import formatting, kinds, registry, tasks
from zoo.catalog import hub_index, int8_support
from zoo.catalog.hub_index import Published
from zoo.catalog.listing import find, is_path, purpose, siblings
from zoo.catalog.manifest import Entry, Metric
from zoo.naming import Name, parse
from zoo.passes import PASSES
from zoo.printable import one_line, printable
from zoo.spec import ModelSpec


@dataclass(frozen=True, repr=False)
class Info:
    """The facts about a network.

    A variant that is made at its first use does not exist before: `bytes` is None, and so are the figures that depend
    on the options of its passes, `parameters` and `macs` of a pruned network.

    Attributes:
        name (str): the full name.
        alias (str): the requested name, if it was another spelling; else empty.
        purpose (str): the data set, the classes and the size of the input, in words.
        task (str): the task, such as "image-classification".
        variant (str): the passes, such as "pruned-int8".
        shipped (bool): whether the weights are in the package.
        parameters (int | None): the number of learned values in the float form.
        nonzero (int | None): the number of values that are not zero.
        macs (int | None): multiply-accumulates for one input of `input_size`.
        bytes (int | None): the size of the file.
        input_size (tuple[int, ...]): (height, width) in pixels, or (tokens,); texts may be longer.
        execution (str): how torch runs an int8 network on this host; else empty.
        metric (Metric | None): the measured figure; None for random weights and for your own networks.
        recipe (str): how the weights were made, if known; of your own networks, the passes that the file names.
        teacher (str): the teacher of a distilled network.
        licence (str): the licence of the weights.
        source (str): where the weights are from.
        labels (tuple[str, ...]): the names of the classes.
        siblings (tuple[str, ...]): related names, such as the family's network for ImageNet. Default: none.
        takes (str): the input in words: "32x32 pixels", "text". Default: empty.
        macs_of (str): the input that `macs` are counted for: "picture", "text of 128 tokens". Default: empty.
        columns (tuple[str, ...]): the columns that a recommender reads. Default: none.
    """

    name: str
    alias: str
    purpose: str
    task: str
    variant: str
    shipped: bool
    parameters: int | None
    nonzero: int | None
    macs: int | None
    bytes: int | None
    input_size: tuple[int, ...]
    execution: str
    metric: Metric | None
    recipe: str
    teacher: str
    licence: str
    source: str
    labels: tuple[str, ...]
    siblings: tuple[str, ...] = ()
    takes: str = ""
    macs_of: str = ""
    columns: tuple[str, ...] = ()

    def rows(self) -> list[tuple[str, str]]:
        """(heading, text) of every known fact."""
        counted = "" if self.parameters is None else f"{self.parameters:,}"
        if self.nonzero is not None and self.parameters is not None and self.nonzero < self.parameters:
            counted += f", {self.nonzero:,} of them not zero"
        facts = {
            "name": f"{self.name} ({self.alias})" if self.alias else self.name,
            "for": self.purpose,
            "see also": "; ".join(self.siblings),
            "variant": self.variant,
            "parameters": counted,
            "MACs": "" if self.macs is None else f"{self.macs:,} a {self.macs_of}",
            "file": f"{self.bytes:,} bytes ({formatting.size(self.bytes)})" if self.bytes is not None else "",
            "input": self.takes,
            "columns": _few(self.columns),
            "runs in": self.execution,
            "measured": _measured(self.metric) if self.metric else "",
            "data": f"{self.metric.encoding}, sha256 {self.metric.sha256}" if self.metric else "",
            "recipe": self.recipe,
            "teacher": self.teacher,
            "licence": self.licence,
            "source": self.source,
            "labels": _few(self.labels),
        }
        return [(heading, text) for heading, text in facts.items() if text]

    def to_json(self) -> dict[str, Any]:
        """The attributes as JSON values."""
        return asdict(self)

    def __repr__(self) -> str:
        rows = self.rows()
        width = max(len(heading) for heading, _ in rows)
        return "\n".join(f"{heading:<{width}}  {printable(text, 2000)}" for heading, text in rows)

    def _repr_html_(self) -> str:
        return formatting.html((), self.rows())


def info(name: str | os.PathLike[str]) -> Info:
    """Tell all that is known about a name, or about a network in a folder, a file, or a repository of the Hub.

    Args:
        name (str | os.PathLike): A name of `zoo.list_models`, a path, or a repository, which is fetched for it.

    Returns:
        Info: Parameters, multiply-accumulates, size, accuracy, licence, labels; `repr()` is a table.

    Raises:
        UnknownName: The name stands for nothing.
        FileError: The file is no network of the zoo, or is damaged.

    Example:
        >>> known = zoo.info("mobilenet-int8")
        >>> known.name, known.parameters, known.metric.value
        ('mobilenetv2_cifar.cifar10-int8', 457418, 87.42)
    """
    if is_path(name):
        return _info_of_path(name)
    text = str(name)
    found, entry = find(text)
    if entry is None and (known := hub_index.published().get(found.dense)):
        return _info_of_published(found, text, known)
    if entry is None:
        spec = registry.spec(found.arch)
        return _info(str(found), text, spec, purpose=f"fresh weights only: {purpose(spec)}", shipped=False)
    from zoo.weights.reader import read_header

    header = read_header(entry.path)
    return _info(
        entry.name,
        text,
        header.spec,
        purpose=entry.purpose,
        shipped=True,
        entry=entry,
        labels=header.labels,
        made=header.made,
    )


def _teacher(made: Mapping[str, Any]) -> str:
    """The teacher's name in the file: written by hand at the top, or by the training script under "trained"."""
    trained = made.get("trained")
    for notes in (made, trained if isinstance(trained, Mapping) else {}):
        teacher = notes.get("teacher")
        if isinstance(teacher, str):
            return one_line(teacher, 100)
    return ""


def _of_start(made: Mapping[str, Any], what: str) -> str:
    """The "name" or "licence" of the weights that training started from, as stated in the file; else empty."""
    source = made.get("source")  # any JSON: the file may come from anywhere
    said = source.get(what) if isinstance(source, Mapping) else None
    return one_line(said, 100) if isinstance(said, str) else ""


def _passes_of(made: Mapping[str, Any]) -> str:
    """The passes that the file says it was made by, with their figures: "pruned (importance=calibrated, macs=0.8)"."""
    passes = made.get("passes")  # any JSON: the file may come from anywhere
    told = []
    for one in passes if isinstance(passes, list) else []:
        if isinstance(one, Mapping) and isinstance(one.get("pass"), str):
            figures = [f"{key}={value}" for key, value in one.items() if isinstance(value, (str, int, float, list))]
            told.append(f"{one['pass']} ({', '.join(figure for figure in figures if not figure.startswith('pass='))})")
    return one_line("; ".join(told), 400)


def _measured(metric: Metric) -> str:
    unit = tasks.unit_of(metric.name)
    text = f"{metric.value:.2f}{unit} {metric.name} (dense {metric.dense:.2f}{unit}), {metric.dataset} {metric.split}, "
    text += f"{metric.examples:,} examples"
    if metric.interval:
        text += f"; 95% interval {metric.interval[0]:.2f} to {metric.interval[1]:.2f}{unit}"
    text += "".join(f"; {name} {value:.2f}{tasks.unit_of(name)}" for name, value in metric.metrics.items())
    if metric.log_loss is not None:
        text += f"; log loss {metric.log_loss:.4f}"
    if metric.with_teacher and metric.without_teacher:
        seeds = len(metric.with_teacher)
        mean = f"mean of {seeds} seeds {_mean(metric.with_teacher):.2f}{unit}, by" if seeds > 1 else "by"
        text += f"; {mean} the same recipe without a teacher {_mean(metric.without_teacher):.2f}{unit}"
    return text


def _mean(values: tuple[float, ...]) -> float:
    return sum(values) / len(values)


def _info_of_path(place: str | os.PathLike[str]) -> Info:
    from zoo.weights import hub
    from zoo.weights.folder import find_file
    from zoo.weights.reader import read_header

    file = find_file(hub.folder_of(place) or place)
    header = read_header(file)
    return _info(
        os.fspath(place),
        "",
        header.spec,
        purpose=f"{header.spec.name}, {purpose(header.spec)}",
        shipped=False,
        size=sum(part.stat().st_size for part in set(header.files.values())),
        labels=header.labels,
        made=header.made,
    )


def _info_of_published(name: Name, asked: str, known: Published) -> Info:
    own = hub_index.published().get(str(name), known)
    if "distilled" in name.passes:
        own = hub_index.published().get(str(Name(name.arch, name.tag, ("distilled",))), own)
    spec = registry.spec(own.arch or name.arch, own.classes or None)
    exists = str(name) in hub_index.published()
    how, unknown = "published on the Hub", dict[str, Any]()
    if not exists:
        unknown = dict.fromkeys(figure for one in name.passes for figure in PASSES[one].resizes)
        how = "made here at first use, from weights on the Hub"
        how += "; how small it becomes depends on the options of its passes" if unknown else ""
    return replace(
        _info(str(name), asked, spec, purpose=f"{how}: {purpose(spec)}", shipped=False),
        **unknown,
        variant=name.variant,
        execution=int8_support.int8_execution(False, spec.input) if "int8" in name.passes else "",
        licence=own.licence,
        teacher=own.teacher,
        source=f"hf-hub:{own.repo}" + (f"@{own.revision}" if own.revision else ""),
    )


def _info(
    name: str,
    asked: str,
    spec: ModelSpec,
    *,
    purpose: str,
    shipped: bool,
    entry: Entry | None = None,
    size: int | None = None,
    labels: tuple[str, ...] = (),
    made: Mapping[str, Any] = MappingProxyType({}),
) -> Info:
    cost = kinds.cost(spec)
    held = next((row.precision for row in spec if row.precision != "float32"), "float32")
    return Info(
        name=name,
        alias=asked if asked and asked != name else "",
        purpose=purpose,
        task=spec.task,
        variant=parse(name).variant if entry else held,
        shipped=shipped,
        parameters=cost.parameters,
        nonzero=entry.nonzero if entry else None,
        macs=cost.macs,
        bytes=entry.bytes if entry else size,
        input_size=kinds.usual_size(spec),
        execution=_execution(spec, made),
        metric=entry.metric if entry else None,
        recipe=entry.recipe if entry else _passes_of(made),
        teacher=(entry.metric.teacher if entry else "") or _teacher(made),
        licence=entry.licence if entry else _of_start(made, "licence"),
        source=entry.source if entry else _of_start(made, "name"),
        labels=tuple(labels),
        siblings=siblings(name),
        takes=spec.input.takes,
        macs_of=spec.input.usual_one,
        columns=spec.input.reads,
    )


def _few(names: tuple[str, ...]) -> str:
    """The first twenty, and how many there are."""
    return ", ".join(names[:20]) + (f", ... ({len(names)})" if len(names) > 20 else "")


def _execution(spec: ModelSpec, made: Mapping[str, Any]) -> str:
    if not any(row.precision.startswith("int8") for row in spec):
        return ""
    passes = made.get("passes")  # any JSON: the file may come from anywhere
    seven_bits = isinstance(passes, list) and {"reduce_range": True}.items() <= _last(passes).items()
    return int8_support.int8_execution(seven_bits, spec.input)


def _last(passes: list[Any]) -> Mapping[str, Any]:
    return passes[-1] if passes and isinstance(passes[-1], Mapping) else {}
