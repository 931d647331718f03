"""Measure the peak memory of networks, each in a fresh process."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import torch

from zoo.factory import open_model

_STATUS = Path("/proc/self/status")
_CHILD = "import sys; from zoo.report.memory import print_peak; print_peak(*sys.argv[1:])"


def peak_memory(
    names: Sequence[str | tuple[str, str]], *, batch: int = 32, size: int | None = None
) -> list[int | None]:
    """The peak memory, in bytes above torch itself, of a fresh process that opens and runs each network.

    An entry of `names` is a name or file, or a pair of a name and its runtime ("eager" is torch). The result is None
    outside Linux, where the system does not report memory, and if the process fails.
    """
    if not _STATUS.exists():
        return [None] * len(names)
    with ThreadPoolExecutor(min(2, os.cpu_count() or 1)) as pool:
        return list(pool.map(lambda name: _peak_in_child(name, batch, size), names))


def physical() -> int | None:
    """The memory of this machine in bytes; None where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None


def print_peak(name: str, runtime: str, batch: str, size: str) -> None:
    """Run in the child process: print how far the peak rises above the memory after all imports."""
    if runtime != "eager":
        from zoo.runtime.choose import to_runtime

    def run() -> None:
        model = open_model(name) if runtime == "eager" else to_runtime(open_model(name), runtime)
        with torch.inference_mode():
            model(model.spec.input.example(int(batch), int(size) or None))

    import_what(run)
    with_torch = _status_kib("VmRSS")
    try:  # reset the peak of the imports
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        with_torch = _status_kib("VmHWM")
    run()
    print(1024 * max(0, _status_kib("VmHWM") - with_torch))


def import_what(run: Callable[[], object]) -> None:
    """Import the modules that `run` imports, and no more: it runs in a copy of this process, which ends.

    Networks import some modules at their first call, and these take more memory than a small network.
    """
    read, write = os.pipe()
    copy = os.fork()
    if not copy:  # what it allocates, it takes along
        try:
            run()
        finally:
            with os.fdopen(write, "w") as told:
                told.write("\n".join(sys.modules))
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as told:
        names = told.read().splitlines()
    os.waitpid(copy, 0)
    for name in names:
        if name not in sys.modules:
            with suppress(Exception):  # names that stand for no module of their own
                importlib.import_module(name)


def _peak_in_child(asked: str | tuple[str, str], batch: int, size: int | None) -> int | None:
    name, runtime = (asked, "eager") if isinstance(asked, str) else asked
    package = str(Path(__file__).parents[2])
    path = os.pathsep.join(filter(None, (package, os.environ.get("PYTHONPATH", ""))))
    done = subprocess.run(  # -P: import nothing from the working directory
        [sys.executable, "-P", "-c", _CHILD, name, runtime, str(batch), str(size or 0)],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    return int(done.stdout) if done.returncode == 0 else None


def _status_kib(field: str) -> int:
    """A field of this process's status, in KiB. getrusage is not used: it includes the parent's memory before exec."""
    for line in _STATUS.read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1])
    raise OSError(f"{_STATUS} has no field {field}.")
