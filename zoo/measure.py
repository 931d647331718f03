"""Time and memory of networks, taken here and now."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from zoo import factory, kinds, listing
from zoo.spec import TextInput
from zoo.weights.file import load

if TYPE_CHECKING:
    from zoo.build import Model

_WARM = 0.01
_STATUS = Path("/proc/self/status")
_CHILD = "import sys; from zoo.measure import print_peak; print_peak(*sys.argv[1:])"


def open_model(name: str | os.PathLike[str]) -> Model:
    """The network of a shipped name, or of a saved network's folder or file."""
    return load(name) if listing.is_path(name) else factory.create(str(name))


def median_times(
    models: Sequence[Callable[[Tensor], Any]],
    inputs: Sequence[Tensor],
    *,
    seconds: float,
    rounds: tuple[int, int] = (9, 200),
) -> tuple[list[float], int]:
    """(median seconds of a call for each model, rounds taken): the models take turns, so that all meet the same noise.

    After a warm-up, as many rounds as `seconds` allow, but never fewer or more than `rounds` says. A turn is a pause,
    calls for 10 ms that do not count, and one that does: the threads of the runtime before still spin for a while,
    this one's are asleep, and the caches are full of other data.
    """
    least, most = rounds
    taken: list[list[float]] = [[] for _ in models]
    with torch.inference_mode():
        for model, x in zip(models, inputs, strict=True):
            for _ in range(3):
                model(x)
        began = time.perf_counter()
        while len(taken[0]) < least or (len(taken[0]) < most and time.perf_counter() - began < seconds):
            for model, x, times in zip(models, inputs, taken, strict=True):
                time.sleep(0.002)
                start = time.perf_counter()
                while True:
                    model(x)
                    if time.perf_counter() - start > _WARM:
                        break
                start = time.perf_counter()
                model(x)
                times.append(time.perf_counter() - start)
    return [statistics.median(times) for times in taken], len(taken[0])


def peak_memory(
    names: Sequence[str | tuple[str, str]], *, batch: int = 32, size: int | None = None
) -> list[int | None]:
    """For each name or file, the bytes that a fresh process takes at its peak, above torch itself, to open and run it.

    With a name may stand a runtime ("eager" is torch's own). None where the system does not tell (it does on Linux),
    or the process fails.
    """
    if not _STATUS.exists():
        return [None] * len(names)
    with ThreadPoolExecutor(min(2, os.cpu_count() or 1)) as pool:
        return list(pool.map(lambda name: _peak_in_child(name, batch, size), names))


def print_peak(name: str, runtime: str, batch: str, size: str) -> None:
    """What the child process runs: the peak's rise over the level that imports alone have reached."""
    if runtime != "eager":
        from zoo.runtime.choose import to_runtime
    with_torch = _status_kib("VmRSS")
    try:  # forget the imports' own peak
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        with_torch = _status_kib("VmHWM")
    model = open_model(name) if runtime == "eager" else to_runtime(open_model(name), runtime)
    with torch.inference_mode():
        model(example(model, int(batch), int(size) or None))
    print(1024 * max(0, _status_kib("VmHWM") - with_torch))


def example(model: Model, batch: int, size: int | None = None) -> Tensor:
    """Random inputs (batch, channels, height, width), channels last as `preprocess` makes them.

    Of a language model token ids (batch, size), 128 of them by default.
    """
    if isinstance(model.spec.input, TextInput):
        tokens = size or kinds.usual_size(model.spec)[0]
        return torch.randint(
            0, model.spec.input.vocabulary, (batch, tokens), generator=torch.Generator().manual_seed(0)
        )
    shape = (batch, model.spec.input.channels, *(model.spec.input.size if size is None else (size, size)))
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    return x.contiguous(memory_format=torch.channels_last)


def cpu_name() -> str:
    """The processor as the system calls it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _peak_in_child(asked: str | tuple[str, str], batch: int, size: int | None) -> int | None:
    name, runtime = (asked, "eager") if isinstance(asked, str) else asked
    package = str(Path(__file__).parent.parent)
    path = os.pathsep.join(filter(None, (package, os.environ.get("PYTHONPATH", ""))))
    done = subprocess.run(  # -P: nothing in the working directory is imported
        [sys.executable, "-P", "-c", _CHILD, name, runtime, str(batch), str(size or 0)],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    return int(done.stdout) if done.returncode == 0 else None


def _status_kib(field: str) -> int:
    """A field of this process's status, in KiB. (getrusage would count the parent's memory before exec, too.)"""
    for line in _STATUS.read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1])
    raise OSError(f"{_STATUS} does not tell {field}.")
