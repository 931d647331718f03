"""`to_runtime`: a network in the runtime of a name, or in the fastest one installed."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from zoo import tasks
from zoo.files import FileError, locked, remove, write_whole
from zoo.model.build import Model
from zoo.model.verify import rebuildable
from zoo.printable import printable
from zoo.report.timing import cpu_name, median_times
from zoo.runtime import RUNTIMES, find, told
from zoo.runtime.cache import Report, folder, model_key, silent
from zoo.runtime.needs import installed, need
from zoo.weights.json_text import read_object

REMEMBERED = 1000  # networks whose fastest runtime is kept


def to_runtime(
    model: Model,
    runtime: str = "auto",
    *,
    cache_dir: str | os.PathLike[str] | None = None,
    report: Report = silent,
) -> Any:
    """Run a network in another runtime, behind the same call.

    "auto" times one picture of the network's own size in each installed runtime with torch.get_num_threads() threads,
    once on this host, and remembers the fastest.

    Args:
        model (Model): the network; it stays as it is.
        runtime (str): "auto", or one of RUNTIMES. Default: "auto".
        cache_dir (str | os.PathLike[str] | None): where exports are stored, by spec and weights. Default: None,
            Hugging Face's cache. Not for "torch", which exports nothing.
        report (Callable[[str], None]): called with a line of text before something slow. Default: does nothing.

    Returns:
        A callable that takes and returns what the network does.

    Raises:
        ValueError: the runtime is unknown, its package is missing (MissingPackage) or it does not run this network,
            or the model was changed by hand or is in quantization-aware training.

    Example:
        >>> run = zoo.to_runtime(zoo.create("resnet20"), "torch")
        >>> run(torch.randn(1, 3, 32, 32)).shape
        torch.Size([1, 10])
    """
    model = rebuildable(model, "to_runtime", float32=True)
    if any(row.precision == "qat" for row in model.spec):
        raise ValueError(f'{model.spec.name} is in quantization-aware training: zoo.compress(model, "int8") ends it.')
    if runtime != "auto":
        known = find(runtime)
        known.refuse(model.spec.name, model.spec.input)
        if known.convert and cache_dir is not None:
            raise ValueError(f'cache_dir is for what other runtimes read; "{runtime}" exports nothing.')
    check_runtime(runtime)
    if runtime == "auto":
        runtime = _fastest(model, cache_dir, report)
    return _made(model, runtime, cache_dir, report)


if to_runtime.__doc__:
    to_runtime.__doc__ = to_runtime.__doc__.replace("RUNTIMES", told(RUNTIMES.values()))


def there_for(model: Model) -> list[str]:
    """The installed runtimes that run the network."""
    given = model.spec.input
    return [one.name for one in RUNTIMES.values() if one.takes(given) and all(map(installed, one.packages))]


def check_runtime(runtime: str) -> None:
    """Raise ValueError for an unknown runtime, or one whose package is missing."""
    if runtime != "auto":
        one = find(runtime)
        need(*one.packages, extra=one.extra)


def _made(model: Model, runtime: str, cache_dir: Any, report: Report) -> Any:
    if (known := find(runtime)).convert:
        return known.fetch("convert")(model)
    task = tasks.of(model.spec)
    runner = task.fetch("runner") if task.runner else model.spec.input.fetch("runner")
    return runner(model, runtime, cache_dir=cache_dir, report=report)


def _fastest(model: Model, cache_dir: Any, report: Report) -> str:
    there = there_for(model)
    if len(there) == 1:
        return there[0]
    versions = " ".join(" ".join((one, *map(version, RUNTIMES[one].packages))) for one in there)
    asked = f"{model_key(model)}, {cpu_name()}, {torch.get_num_threads()} threads, {versions}"
    file = folder(cache_dir) / "fastest.json"
    known = _read(file)
    if asked in known and known[asked] in there:
        return known[asked]
    report(f"measuring {printable(model.spec.name)} in {', '.join(there)}, once")
    x = model.spec.input.example(1)
    times, _ = median_times([_made(model, one, cache_dir, report) for one in there], [x] * len(there), seconds=3)
    best = there[times.index(min(times))]
    with locked(file):
        known = dict(list(_read(file).items())[1 - REMEMBERED :]) | {asked: best}
        if file.is_dir():
            remove(file)
        write_whole(file, (json.dumps(known, indent=1).encode(),))
    return best


def _read(file: Path) -> dict[str, str]:
    """What was measured here, as far as it is there and can be read."""
    with suppress(FileError):
        return {key: value for key, value in read_object(file).items() if isinstance(value, str) and value in RUNTIMES}
    return {}
