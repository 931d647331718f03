"""`bench`: latency, throughput and memory of networks in runtimes, here and now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from zoo import measure, tables
from zoo.runtime.cache import Report, silent
from zoo.runtime.choose import RUNTIMES, there_for, to_runtime
from zoo.spec import TextInput

KINDS = ("eager", *RUNTIMES)  # eager: as create gives it; torch: fused where it is float32


@dataclass(frozen=True)
class Timing:
    """One network in one runtime at one batch size; `latency` in ms a call, `throughput` in pictures or texts a second.

    `peak_memory` in bytes is what a fresh process takes above torch itself; None where the system does not tell.
    `ratio` is the latency over that of the first network in its first runtime at the same batch.
    """

    name: str
    runtime: str
    batch: int
    latency: float
    throughput: float
    ratio: float
    peak_memory: int | None


@dataclass(frozen=True)
class Bench:
    """What `bench` found, and on what."""

    timings: tuple[Timing, ...]
    rounds: tuple[int, ...]
    threads: int
    cpu: str
    torch: str
    unit: str = "pictures"  # or "texts", or "inputs" where there are both

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def __repr__(self) -> str:
        return "\n".join((tables.text(self._headers(), self._cells()), "", *self._notes()))

    def _repr_html_(self) -> str:
        headers = [header.replace("\n", " ") for header in self._headers()]
        return tables.html(headers, self._cells(), notes=self._notes())

    def _headers(self) -> list[str]:
        return ["network", "runtime", "batch", "ms\na call", f"{self.unit}\na second", "time", "peak\nmemory"]

    def _cells(self) -> list[list[str]]:
        return [
            [
                one.name,
                one.runtime,
                str(one.batch),
                f"{one.latency:.2f}",
                f"{one.throughput:.0f}",
                f"{one.ratio:.2f}",
                tables.size(one.peak_memory) if one.peak_memory is not None else "",
            ]
            for one in self.timings
        ]

    def _notes(self) -> list[str]:
        return [
            f"Medians of {' and '.join(map(str, self.rounds))} rounds, interleaved; time: the first = 1.",
            f"{self.cpu}, {self.threads} thread{'s' * (self.threads != 1)}, torch {self.torch}.",
        ]


def bench(
    names: str | Sequence[str],
    *,
    runtimes: Sequence[str] | None = None,
    batches: Sequence[int] = (1, 32),
    size: int | None = None,
    seconds: float = 6.0,
    memory: bool = True,
    report: Report = silent,
) -> Bench:
    """Time names, folders or files in `runtimes`, by turns in one process.

    Runtimes are "eager", what `create` gives, "torch", the same with float32 rows fused, "openvino", "onnxruntime" and
    "executorch"; by default all that are installed. Threads are torch.get_num_threads(), pictures random, of the
    network's own size or of `size` pixels, texts of 128 tokens.
    """
    names = [names] if isinstance(names, str) else list(names)
    _check(names, KINDS if runtimes is None else runtimes, batches, size)
    opened, labels = [], []
    for name in names:
        model = measure.open_model(name)
        for runtime in ("eager", *there_for(model)) if runtimes is None else runtimes:
            if runtime == "torch" and all(row.precision != "float32" for row in model.spec):
                continue  # the same as eager
            opened.append(_in(model, runtime, report))
            labels.append((name, runtime))
    timings: list[Timing] = []
    rounds = []
    for batch in batches:
        report(f"timing at batch {batch}")
        inputs = [measure.example(model, batch, size) for model in opened]
        times, taken = measure.median_times(opened, inputs, seconds=seconds)
        rounds.append(taken)
        report(f"measuring memory at batch {batch}")
        peaks = measure.peak_memory(labels, batch=batch, size=size) if memory else [None] * len(opened)
        for (name, runtime), time, peak in zip(labels, times, peaks, strict=True):
            timings.append(Timing(name, runtime, batch, 1e3 * time, batch / time, time / times[0], peak))
    units = {"texts" if isinstance(one.spec.input, TextInput) else "pictures" for one in opened}
    unit = units.pop() if len(units) == 1 else "inputs"
    return Bench(tuple(timings), tuple(rounds), torch.get_num_threads(), measure.cpu_name(), torch.__version__, unit)


def _in(model: Any, runtime: str, report: Report) -> Any:
    return model if runtime == "eager" else to_runtime(model, runtime, report=report)


def _check(names: Sequence[str], runtimes: Sequence[str], batches: Sequence[int], size: int | None) -> None:
    if not names:
        raise ValueError("bench needs at least one network's name.")
    unknown = [one for one in runtimes if one not in KINDS]
    if unknown or not runtimes:
        raise ValueError(f"Unknown runtime {unknown[0] if unknown else ''!r}; choose of {', '.join(KINDS)}.")
    for what, values in (("batches", batches), ("size", [] if size is None else [size])):
        if not all(isinstance(one, int) and not isinstance(one, bool) and one >= 1 for one in values):
            raise ValueError(f"{what}: whole numbers of at least 1, not {values!r}.")
