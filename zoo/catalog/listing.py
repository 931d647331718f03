"""List the networks, and find the network of a name, without torch."""

from __future__ import annotations

import os
from fnmatch import fnmatchcase
from functools import cache

from zoo import kinds, registry, tasks
from zoo.catalog import hub_index, manifest
from zoo.catalog.manifest import Entry
from zoo.checks import check_flag, check_told
from zoo.files import local_path
from zoo.naming import Name, UnknownName, did_you_mean, parse, parse_passes
from zoo.passes import PASSES
from zoo.spec import ModelSpec


def list_models(
    pattern: str = "*", *, task: str | None = None, variant: str | None = None, shipped: bool | None = None
) -> list[str]:
    """List the names that `zoo.create` understands: what ships, what is published on the Hub, and architectures.

    `create` makes the variants int8, sparse and (untuned) pruned of the published ones too. The architectures are those
    for fresh weights alone.

    Args:
        pattern (str): Shell wildcards. Shorter spellings match too, such as "mobilenet-*". Default: "*".
        task (str | None): A name of `zoo.tasks.TASKS`, such as "image-classification". Networks of several labels at
            once and of scores count as well. Default: None, every task.
        variant (str | None): "dense", or passes such as "pruned-int8". Default: None, every variant.
        shipped (bool | None): True for what ships with the package, False for all else. Default: None, both.

    Returns:
        list[str]: The names, what ships first; none for a task that no listed network has, such as
            "question-answering". `zoo.load("hf-hub:you/your-network")` takes networks that are not listed.

    Raises:
        ValueError: `pattern` is no string, the task is unknown, or the variant names no passes, or `shipped` is
            no bool.

    Example:
        >>> zoo.list_models("resnet*", variant="pruned-int8", shipped=True)
        ['resnet20.cifar10-pruned-int8']
    """
    if shipped is not None:
        check_flag("shipped", shipped)
    check_told(variant=variant)
    if not isinstance(pattern, str):
        raise ValueError(f"pattern is a string such as 'mobilenet*', not {pattern!r}.")
    if task is not None and task not in tasks.TASKS:
        raise ValueError(f"Unknown task {task!r}; the tasks are {', '.join(sorted(tasks.TASKS))}.")
    wanted = None if variant is None else parse_passes(variant)
    found = [] if shipped is False else list(manifest.entries())
    if shipped is not True:
        found += [text for text in hub_index.published() if text not in manifest.entries()]
        dense = {parse(text).arch for text in found + list(manifest.entries()) if not parse(text).passes}
        found += [arch for arch in registry.MODELS if arch not in dense]
    return [
        text
        for text in found
        if any(fnmatchcase(spelling, pattern) for spelling in (text, *aliases(text)))
        and (wanted is None or parse(text).passes == wanted)
        and (task is None or task in _tasks(text))
    ]


def _tasks(text: str) -> tuple[str, str]:
    """The task of a listed name, and the corresponding task in other libraries."""
    if (entry := manifest.entries().get(text)) is not None:
        found = tasks.TASKS[entry.task]
    else:
        known = hub_index.published().get(text)
        arch, classes = (known.arch, known.classes) if known is not None else ("", 0)
        found = _task_of(arch or parse(text).arch, classes)
    return found.name, found.usual


@cache
def _task_of(arch: str, classes: int) -> tasks.Task:
    """Of the architecture with so many classes, 0 for its own number: hundreds of names are asked for."""
    return tasks.of(registry.spec(arch, classes or None))


def find(text: str) -> tuple[Name, Entry | None]:
    """The full name and the shipped entry of a name. The entry is None for a published network or a bare architecture.

    A name needs no tag if only one tag of the architecture ships, or for the default weights of a published
    architecture. Raises UnknownName, which lists the existing names and says how to make others.
    """
    name, entries = registry.resolve(text), manifest.entries()
    tags, hub_tags = shipped_tags(name.arch), [parse(other).tag for other in hub_index.tags(name.arch)]
    full = Name(name.arch, tags[0], name.passes) if not name.tag and len(tags) == 1 else name
    if str(full) in entries:
        return full, entries[str(full)]
    if hub_tags and (not full.tag or full.tag in hub_tags):
        full = Name(name.arch, full.tag or hub_tags[0], name.passes)
        trained = str(Name(full.arch, full.tag, ("distilled",)))
        if "distilled" in full.passes and not {str(full), trained} & set(hub_index.published()):
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
        known = [str(Name(name.arch, tag)) for tag in tags]
        raise UnknownName(
            f"No weights {full.dense!r} are known{did_you_mean(full.dense, known)} Those that are: {_first(known)}."
        )
    raise UnknownName(f"{full} does not ship; the variants that do are {', '.join(variants)}.{_how_to_make(full)}")


def is_path(name: str | os.PathLike[str]) -> bool:
    """Whether `name` is a folder or file of a saved network; a name of the zoo is never taken as a path."""
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
    """The purpose that a spec itself shows: "10 classes, 32x32", "text-generation, up to 1,024 tokens"."""
    task = tasks.of(spec)
    classes = kinds.classes(spec) if task.has_classes or task.pixels else 0
    return f"{f'{classes} classes' if classes else spec.task}, {spec.input.brief}"


def aliases(text: str) -> list[str]:
    """Shorter spellings of a full name, the shortest first: "mobilenet-int8" for "mobilenetv2_cifar.cifar10-int8"."""
    name = parse(text)
    stems = [alias for alias, stem in registry.ALIASES.items() if stem == name.dense]
    if name.tag and shipped_tags(name.arch) == [name.tag]:
        stems.append(name.arch)
    return [str(Name(stem, passes=name.passes)) for stem in sorted(stems, key=len)]


def siblings(text: str) -> tuple[str, ...]:
    """The family's weights for other data, with their full names: "mobilenet.in1k (mobilenetv2_100.ra_in1k)"."""
    dense = text.partition("-")[0]
    return tuple(
        f"{Name(family, tag)} ({name})"
        for family, tags in registry.FAMILIES.items()
        if dense in tags.values()
        for tag, name in tags.items()
        if name != dense
    )


def shipped_tags(arch: str) -> list[str]:
    """The tags of an architecture whose weights ship."""
    return sorted({name.tag for name in map(parse, manifest.entries()) if name.arch == arch})


def _exists(name: str) -> bool:
    try:
        return local_path(name).exists()
    except OSError:  # too long for a path
        return False


def _nobody_trained(name: Name) -> str:
    trained = [text for text in (*manifest.entries(), *hub_index.published()) if "distilled" in parse(text).passes]
    return (
        f"{name} is published nowhere, and a distilled network cannot be made without training; those that exist are "
        f"{', '.join(trained)}. Train one: zoo distill STUDENT --teacher TEACHER "
        "--data DATA --out FOLDER."
    )


def _first(names: list[str], most: int = 8) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _how_to_make(name: Name) -> str:
    start, passes = Name(name.arch, name.tag), name.passes
    if "distilled" in passes:  # distilling is training; only the later passes can be run
        start, passes = Name(name.arch, name.tag, ("distilled",)), tuple(p for p in passes if p != "distilled")
    if not passes or str(start) not in manifest.entries():
        return ""
    spelling = (aliases(str(start)) or [str(start)])[0]
    data = ", calibration=..." if any("calibration" in PASSES[one].takes for one in passes) else ""
    return f' Make it: zoo.compress(zoo.create("{spelling}"), "{"-".join(passes)}"{data})'
