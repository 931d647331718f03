"""`to_runtime`: a network in the runtime of a name, or in the fastest one installed."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from importlib.metadata import version
from typing import Any

import torch

from zoo.build import Model, is_whole
from zoo.fuse import fuse
from zoo.measure import cpu_name, example, median_times
from zoo.runtime.cache import Report, folder, model_key, silent, written_whole
from zoo.runtime.compiled import RuntimeModel, TextRuntimeModel
from zoo.runtime.needs import installed, need
from zoo.spec import TextInput
from zoo.weights.lock import locked

RUNTIMES = ("torch", "openvino", "onnxruntime", "executorch")


def to_runtime(
    model: Model,
    runtime: str = "auto",
    *,
    cache_dir: str | os.PathLike[str] | None = None,
    report: Report = silent,
) -> Any:
    """The network behind the same call in "openvino", "onnxruntime" or "executorch" (pictures), or in "torch" (fused
    where it is float32).

    "auto" is the fastest of those installed for one picture of the network's own size and torch.get_num_threads()
    threads: measured once on this host, and remembered. What is exported is kept in `cache_dir`, by default in Hugging
    Face's cache, under a key of spec and weights. Raises MissingPackage, a ValueError, where a package is missing.
    """
    if not is_whole(model):
        raise ValueError(f"to_runtime takes a zoo model, not {type(model).__name__}.")
    if any(row.precision == "qat" for row in model.spec):
        raise ValueError(f'{model.spec.name} is in quantization-aware training: zoo.compress(model, "int8") ends it.')
    if runtime == "executorch" and isinstance(model.spec.input, TextInput):
        raise ValueError(f"ExecuTorch runs {model.spec.name} for texts of one length only: zoo.export writes the file.")
    check_runtime(runtime)
    if runtime == "auto":
        runtime = _fastest(model, cache_dir, report)
    return _made(model, runtime, cache_dir, report)


def there_for(model: Model) -> list[str]:
    """The installed runtimes that run the network."""
    texts = isinstance(model.spec.input, TextInput)
    return [one for one in RUNTIMES if installed(one) and not (texts and one == "executorch")]


def check_runtime(runtime: str) -> None:
    """Raise ValueError for an unknown runtime, or one whose package is missing."""
    if runtime not in (*RUNTIMES, "auto"):
        raise ValueError(f"Unknown runtime {runtime!r}; choose one of {', '.join(RUNTIMES)}, auto.")
    if runtime != "auto":
        need(runtime)


def _made(model: Model, runtime: str, cache_dir: Any, report: Report) -> Any:
    if runtime == "torch":
        return fuse(model)
    kind = TextRuntimeModel if isinstance(model.spec.input, TextInput) else RuntimeModel
    return kind(model, runtime, cache_dir=cache_dir, report=report)


def _fastest(model: Model, cache_dir: Any, report: Report) -> str:
    there = there_for(model)
    if len(there) == 1:
        return there[0]
    versions = " ".join(f"{one} {version(one)}" for one in there)
    asked = f"{model_key(model)}, {cpu_name()}, {torch.get_num_threads()} threads, {versions}"
    file = folder(cache_dir) / "fastest.json"
    known = _read(file)
    if known.get(asked) not in there:
        report(f"measuring {model.spec.name} in {', '.join(there)}, once")
        x = example(model, 1)
        times, _ = median_times([_made(model, one, cache_dir, report) for one in there], [x] * len(there), seconds=3)
        best = there[times.index(min(times))]
        with locked(file):
            known = {**_read(file), asked: best}
            with written_whole(file) as part:
                part.write_text(json.dumps(known, indent=1), encoding="utf-8")
    return str(known[asked])


def _read(file: Any) -> dict[str, Any]:
    with suppress(OSError, ValueError):
        found = json.loads(file.read_text(encoding="utf-8"))
        if isinstance(found, dict):
            return found
    return {}
