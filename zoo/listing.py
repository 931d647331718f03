"""Which networks there are, and what is known about each: without torch."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from types import MappingProxyType
from typing import Any

from zoo import host, kinds, registry, tables
from zoo.naming import Name, UnknownName, did_you_mean, parse, parse_passes
from zoo.spec import ModelSpec, TextInput
from zoo.weights import manifest, published
from zoo.weights.manifest import Entry, Metric
from zoo.weights.published import Published


@dataclass(frozen=True, repr=False)
class Info:
    """What is known about a network; `metric` is None and `recipe` empty where its weights are fresh or your own.

    `alias` is what was asked for, where that was another spelling. `execution` says what torch runs an int8 network in
    on this host. `parameters` are learnt values, counted on the
    float form, `nonzero` those that are not zero; `macs` multiply-accumulates for one picture of `input_size`, (height,
    width), or one text of `input_size`, (tokens,), which may be longer.
    """

    name: str
    alias: str
    purpose: str
    task: str
    variant: str
    shipped: bool
    parameters: int
    nonzero: int | None
    macs: int
    bytes: int | None
    input_size: tuple[int, ...]
    execution: str
    metric: Metric | None
    recipe: str
    teacher: str
    licence: str
    source: str
    labels: tuple[str, ...]

    def rows(self) -> list[tuple[str, str]]:
        """(heading, text) of everything known."""
        pictures = len(self.input_size) == 2
        zeros = self.nonzero is not None and self.nonzero < self.parameters
        facts = {
            "name": f"{self.name} ({self.alias})" if self.alias else self.name,
            "for": self.purpose,
            "variant": self.variant,
            "parameters": f"{self.parameters:,}" + (f", {self.nonzero:,} of them not zero" if zeros else ""),
            "MACs": f"{self.macs:,} a {'picture' if pictures else f'text of {self.input_size[0]} tokens'}",
            "file": f"{self.bytes:,} bytes ({tables.size(self.bytes)})" if self.bytes is not None else "",
            "input": "x".join(map(str, self.input_size)) + " pixels" if pictures else "text",
            "runs in": self.execution,
            "measured": _measured(self.metric) if self.metric else "",
            "data": f"{self.metric.encoding}, sha256 {self.metric.sha256}" if self.metric else "",
            "recipe": self.recipe,
            "teacher": self.teacher,
            "licence": self.licence,
            "source": self.source,
            "labels": ", ".join(self.labels[:20]) + (f", ... ({len(self.labels)})" if len(self.labels) > 20 else ""),
        }
        return [(heading, text) for heading, text in facts.items() if text]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def __repr__(self) -> str:
        rows = self.rows()
        width = max(len(heading) for heading, _ in rows)
        return "\n".join(f"{heading:<{width}}  {text}" for heading, text in rows)

    def _repr_html_(self) -> str:
        return tables.html((), self.rows())


def list_models(
    pattern: str = "*", *, task: str | None = None, variant: str | None = None, shipped: bool | None = None
) -> list[str]:
    """The names `create` understands: what ships, in every variant, what is published on the Hub, and architectures.

    Of the published ones `create` makes the variants int8, sparse and (untuned) pruned too. The architectures are those
    for fresh weights alone. `pattern` has shell wildcards and matches shorter spellings too ("mobilenet-*"). `variant`
    is "dense" or passes ("pruned-int8"); `shipped` chooses what ships, or all else.
    """
    if not isinstance(pattern, str):
        raise ValueError(f"pattern is a string such as 'mobilenet*', not {pattern!r}.")
    tasks = sorted({registry.spec(arch).task for arch in registry.MODELS})
    if task is not None and task not in tasks:
        raise ValueError(f"Unknown task {task!r}; the tasks are {', '.join(tasks)}.")
    wanted = None if variant is None else parse_passes(variant)
    found = [] if shipped is False else list(manifest.entries())
    if shipped is not True:
        found += [text for text in published.published() if text not in manifest.entries()]
        dense = {parse(text).arch for text in found + list(manifest.entries()) if not parse(text).passes}
        found += [arch for arch in registry.MODELS if arch not in dense]
    return [
        text
        for text in found
        if any(fnmatchcase(spelling, pattern) for spelling in (text, *aliases(text)))
        and (wanted is None or parse(text).passes == wanted)
        and (task is None or registry.spec(parse(text).arch).task == task)
    ]


def info(name: str | os.PathLike[str]) -> Info:
    """Everything known about a name, or about a network in a folder, a file, or a repository of the Hub.

    A repository is fetched for it. Raises UnknownName for a name that stands for nothing, FileError for a file that is
    none of ours.
    """
    if is_path(name):
        return _info_of_path(name)
    text = str(name)
    found, entry = find(text)
    if entry is None and (known := published.published().get(found.dense)):
        return _info_of_published(found, text, known)
    if entry is None:
        spec = registry.spec(found.arch)
        return _info(str(found), text, spec, purpose=f"fresh weights only: {purpose(spec)}", shipped=False)
    from zoo.weights.header import read_header

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


def find(text: str) -> tuple[Name, Entry | None]:
    """The full name and the shipped entry that a name stands for; none for a published or a bare architecture.

    An architecture for which one tag ships needs no tag, nor do the default weights of a published one. Raises
    UnknownName with what there is, and how to make the rest.
    """
    name, entries = registry.resolve(text), manifest.entries()
    tags, hub_tags = shipped_tags(name.arch), [parse(other).tag for other in published.tags(name.arch)]
    full = Name(name.arch, tags[0], name.passes) if not name.tag and len(tags) == 1 else name
    if str(full) in entries:
        return full, entries[str(full)]
    if hub_tags and (not full.tag or full.tag in hub_tags):
        full = Name(name.arch, full.tag or hub_tags[0], name.passes)
        trained = str(Name(full.arch, full.tag, ("distilled",)))
        if "distilled" in full.passes and not {str(full), trained} & set(published.published()):
            raise UnknownName(_nobody_trained(full))
        return full, None
    if not name.tag and not name.passes:
        return name, None
    tags = [*tags, *(tag for tag in hub_tags if tag not in tags)]
    if not tags:
        raise UnknownName(
            f"No weights ship for {name.arch}: write {name.arch!r} with weights=None for fresh ones, or "
            "weights='your/folder' for your own."
        )
    variants = [parse(other).variant for other in entries if parse(other).dense == full.dense]
    if not variants:
        known = [f"{name.arch}.{tag}" for tag in tags]
        raise UnknownName(
            f"No weights {full.dense!r} are known{did_you_mean(full.dense, known)} Those that are: {_first(known)}."
        )
    raise UnknownName(f"{full} does not ship; the variants that do are {', '.join(variants)}.{_how_to_make(full)}")


def is_path(name: str | os.PathLike[str]) -> bool:
    """Whether this is a saved network's folder or file, rather than a name: names come first."""
    if isinstance(name, os.PathLike) or not isinstance(name, str):
        return isinstance(name, os.PathLike)
    if "/" in name or os.sep in name or name.endswith(".safetensors"):
        return True
    try:
        registry.resolve(name)
    except UnknownName:
        return name != "" and _exists(name)
    return False


def purpose(spec: ModelSpec) -> str:
    """What can be said of a spec's purpose from itself: "10 classes, 32x32", "text-generation, up to 1,024 tokens"."""
    classes = spec.rows[-1].args.get("num_classes")
    if isinstance(spec.input, TextInput):
        return f"{f'{classes} classes' if classes else spec.task}, up to {spec.input.length:,} tokens"
    return (f"{classes} classes, " if classes else "") + "x".join(map(str, spec.input.size))


def aliases(text: str) -> list[str]:
    """Shorter spellings of a full name, the shortest first: "mobilenet-int8" for "mobilenetv2_cifar.cifar10-int8"."""
    name = parse(text)
    stems = [alias for alias, stem in registry.ALIASES.items() if stem == name.dense]
    if name.tag and shipped_tags(name.arch) == [name.tag]:
        stems.append(name.arch)
    return [str(Name(stem, passes=name.passes)) for stem in sorted(stems, key=len)]


def shipped_tags(arch: str) -> list[str]:
    """The tags under which weights of an architecture ship."""
    return sorted({name.tag for name in map(parse, manifest.entries()) if name.arch == arch})


def printable(text: str, most: int = 100) -> str:
    """Text of unknown origin on one line, without control characters, and cut short."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= most else f"{line[: most - 3]}..."


def _exists(name: str) -> bool:
    try:
        return Path(name).exists()
    except OSError:  # too long for a path
        return False


def _teacher(made: Mapping[str, Any]) -> str:
    """Who taught the network, as its file says: by hand at the top, or by the training script under "trained"."""
    trained = made.get("trained")
    for notes in (made, trained if isinstance(trained, Mapping) else {}):
        teacher = notes.get("teacher")
        if isinstance(teacher, str):
            return printable(teacher)
    return ""


def _nobody_trained(name: Name) -> str:
    trained = [text for text in (*manifest.entries(), *published.published()) if "distilled" in parse(text).passes]
    return (
        f"{name} is published nowhere, and a distilled network cannot be made without training; those that exist are "
        f"{', '.join(trained)}. Train one, in a checkout: python scripts/distill.py STUDENT --teacher TEACHER "
        "--data DATA --out FOLDER."
    )


def _first(names: list[str], most: int = 8) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _how_to_make(name: Name) -> str:
    start, passes = Name(name.arch, name.tag), name.passes
    if "distilled" in passes:  # a distilled network is trained, so only the passes behind it can be run
        start, passes = Name(name.arch, name.tag, ("distilled",)), tuple(p for p in passes if p != "distilled")
    if not passes or str(start) not in manifest.entries():
        return ""
    spelling = (aliases(str(start)) or [str(start)])[0]
    data = ", calibration=..." if "int8" in passes else ""
    return f' Make it: zoo.compress(zoo.create("{spelling}"), "{"-".join(passes)}"{data})'


def _measured(metric: Metric) -> str:
    text = f"{metric.value:.2f}% {metric.name} (dense {metric.dense:.2f}%), {metric.dataset} {metric.split}, "
    text += f"{metric.examples:,} examples"
    if metric.with_teacher and metric.without_teacher:
        text += (
            f"; mean of {len(metric.with_teacher)} seeds {_mean(metric.with_teacher):.2f}%, "
            f"by the same recipe without a teacher {_mean(metric.without_teacher):.2f}%"
        )
    return text


def _mean(values: tuple[float, ...]) -> float:
    return sum(values) / len(values)


def _info_of_path(place: str | os.PathLike[str]) -> Info:
    from zoo.weights import hub
    from zoo.weights.folder import find_file
    from zoo.weights.header import read_header

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
    own = published.published().get(str(name), known)
    if "distilled" in name.passes:
        own = published.published().get(str(Name(name.arch, name.tag, ("distilled",))), own)
    spec = registry.spec(own.arch or name.arch, own.classes or None)
    exists = str(name) in published.published()
    how = "published on the Hub" if exists else "made here, once, from weights on the Hub"
    return replace(
        _info(str(name), asked, spec, purpose=f"{how}: {purpose(spec)}", shipped=False),
        variant=name.variant,
        execution=host.int8_execution(False, isinstance(spec.input, TextInput)) if "int8" in name.passes else "",
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
        recipe=entry.recipe if entry else "",
        teacher=(entry.metric.teacher if entry else "") or _teacher(made),
        licence=entry.licence if entry else "",
        source=entry.source if entry else "",
        labels=tuple(labels),
    )


def _execution(spec: ModelSpec, made: Mapping[str, Any]) -> str:
    if not any(row.precision.startswith("int8") for row in spec):
        return ""
    passes = made.get("passes")  # whatever a stranger's file holds
    seven_bits = isinstance(passes, list) and {"reduce_range": True}.items() <= _last(passes).items()
    return host.int8_execution(seven_bits, isinstance(spec.input, TextInput))


def _last(passes: list[Any]) -> Mapping[str, Any]:
    return passes[-1] if passes and isinstance(passes[-1], Mapping) else {}
