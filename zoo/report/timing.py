"""Measure the time of calls on this machine."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

_WARM = 0.01


def median_times(
    models: Sequence[Callable[[Any], Any]],
    inputs: Sequence[Any],
    *,
    seconds: float,
    rounds: tuple[int, int] = (9, 200),
) -> tuple[list[float], int]:
    """(median seconds of a call for each model, number of rounds). The models take turns, so that noise is alike.

    After a warm-up there are as many rounds as fit into `seconds`, within the bounds of `rounds`. A turn is a pause,
    10 ms of calls that do not count, and one measured call. The uncounted calls are needed because the threads of the
    previous runtime still spin, this runtime's threads sleep, and the caches are full of other data.
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


def cpu_name() -> str:
    """The system's name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
