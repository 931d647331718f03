"""`bench`: latency, throughput and memory of networks in runtimes, here and now."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from zoo import formatting
from zoo.checks import check_flag, check_whole, is_number
from zoo.factory import open_model
from zoo.report import memory as peaks
from zoo.report import timing
from zoo.report.generation import Generation, generates, measure
from zoo.runtime import RUNTIMES
from zoo.runtime.cache import Report, silent
from zoo.runtime.choose import there_for, to_runtime

GENERATION = ["decoder", "tokens\na second", "ms\na token", "MB read\na token", "GB/s\nof memory", "share\nof it"]


@dataclass(frozen=True)
class Timing:
    """One network in one runtime at one batch size.

    Attributes:
        name (str): the network's name or path.
        runtime (str): the runtime's name.
        batch (int): inputs a call.
        latency (float): milliseconds a call, the median.
        throughput (float): inputs a second.
        ratio (float): the latency, relative to the first network in its first runtime at the same batch.
        peak_memory (int | None): bytes that a fresh process takes above torch itself; None where it was not measured.
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
    """What `zoo.bench` measured; `repr()` is a table, and a notebook shows it as one.

    Attributes:
        timings (tuple[Timing, ...]): by batch, then by network and runtime.
        rounds (tuple[int, ...]): rounds at each batch.
        threads (int): threads of torch.
        cpu (str): the name of the processor.
        torch (str): the version of torch.
        unit (str): "pictures", "texts", or "inputs" for both. Default: "pictures".
        generated (tuple[Generation, ...]): of decoders, tokens a second of generation at batch 1. Default: none.
    """

    timings: tuple[Timing, ...]
    rounds: tuple[int, ...]
    threads: int
    cpu: str
    torch: str
    unit: str = "pictures"  # or "texts", or "inputs" where there are both
    generated: tuple[Generation, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The attributes as a dict of JSON values."""
        return asdict(self)

    def __repr__(self) -> str:
        tables = [formatting.text(self._headers(), self._cells()), ""]
        if self.generated:
            tables += [formatting.text(GENERATION, self._of_generation()), ""]
        return "\n".join((*tables, *self._notes()))

    def _repr_html_(self) -> str:
        headers = [header.replace("\n", " ") for header in self._headers()]
        table = formatting.html(headers, self._cells(), notes=self._notes())
        if not self.generated:
            return table
        return table + formatting.html([one.replace("\n", " ") for one in GENERATION], self._of_generation())

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
                formatting.size(one.peak_memory) if one.peak_memory is not None else "",
            ]
            for one in self.timings
        ]

    def _of_generation(self) -> list[list[str]]:
        return [
            [
                one.name,
                f"{one.tokens:.1f}",
                f"{1e3 / one.tokens:.2f}",
                f"{one.read / 1e6:.1f}",
                f"{one.bandwidth / 1e9:.1f}",
                f"{one.share:.2f}",
            ]
            for one in self.generated
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
    """Measure the latency, throughput and memory of networks in runtimes, by turns in one process.

    Inputs are random, and torch.get_num_threads() threads compute. The figures are medians. Of decoders it measures
    generation at batch 1 too: tokens a second, and which share of the memory's speed that is.

    Args:
        names (str | Sequence[str]): names, or folders or files of saved networks.
        runtimes (Sequence[str] | None): "eager" (what `zoo.create` gives), and names that `zoo.to_runtime` takes.
            Default: None, all that are installed.
        batches (Sequence[int]): inputs a call. Default: (1, 32).
        size (int | None): height and width of the pictures in pixels, or tokens of the texts. Default: None, the
            network's own size, 128 tokens.
        seconds (float): how long the networks are timed at each batch. Default: 6.0.
        memory (bool): whether peak memory is measured, in fresh processes. Default: True.
        report (Callable[[str], None]): called with a line of text at each step. Default: does nothing.

    Returns:
        A `Bench`.

    Raises:
        UnknownName: a name stands for no network.
        FileError: a path holds no network.
        ValueError: a runtime is unknown, its package is missing, or a number is out of range.

    Example:
        >>> measured = zoo.bench("resnet20", runtimes=["eager"], batches=[1], seconds=0.1, memory=False)
        >>> measured.timings[0].runtime, measured.timings[0].latency > 0
        ('eager', True)
    """
    names = [names] if isinstance(names, str) else list(names)
    check_flag("memory", memory)
    _check(names, _known() if runtimes is None else runtimes, batches, size)
    if not is_number(seconds) or seconds < 0:
        raise ValueError(f"seconds= takes a number, 0 or more, not {seconds!r}.")
    opened, labels = [], []
    for name in names:
        model = open_model(name)
        for runtime in ("eager", *there_for(model)) if runtimes is None else runtimes:
            if (
                runtime == "torch"
                and "eager" in (runtimes or ("eager",))
                and all(row.precision != "float32" for row in model.spec)
            ):
                continue  # the same as eager
            opened.append(_in(model, runtime, report))
            labels.append((name, runtime))
    timings: list[Timing] = []
    rounds = []
    for batch in batches:
        report(f"timing at batch {batch}")
        inputs = [_example(model, batch, size) for model in opened]
        times, taken = timing.median_times(opened, inputs, seconds=seconds)
        rounds.append(taken)
        report(f"measuring memory at batch {batch}")
        taken_by = peaks.peak_memory(labels, batch=batch, size=size) if memory else [None] * len(opened)
        for (name, runtime), time, peak in zip(labels, times, taken_by, strict=True):
            timings.append(Timing(name, runtime, batch, 1e3 * time, batch / time, time / times[0], peak))
    decoders = {name: model for (name, _), model in zip(labels, opened, strict=True) if generates(model)}
    generated: tuple[Generation, ...] = ()
    if decoders and 1 in batches:
        report("timing generation")
        generated = measure(list(decoders.items()), seconds)
    units = {one.spec.input.unit for one in opened}
    unit = units.pop() if len(units) == 1 else "inputs"
    threads, cpu = torch.get_num_threads(), timing.cpu_name()
    return Bench(tuple(timings), tuple(rounds), threads, cpu, torch.__version__, unit, generated)


def _known() -> tuple[str, ...]:
    """eager: as from `zoo.create`; torch: float32 rows fused."""
    return ("eager", *RUNTIMES)


def _example(model: Any, batch: int, size: int | None) -> Any:
    """The input; raises ValueError where it alone takes more than this machine's memory, which is not tried."""
    of = model.spec.input
    needed = 4 * batch * math.prod(of.shape(None if size is None else (size,) * len(of.usual_size)))
    if (there := peaks.physical()) is not None and needed > there:
        raise ValueError(
            f"{batch:,} {of.unit} of a batch take {needed / 1e9:,.1f} GB at least, and this machine has "
            f"{there / 1e9:,.1f} GB: choose a smaller batch or size."
        )
    return of.example(batch, size)


def _in(model: Any, runtime: str, report: Report) -> Any:
    return model if runtime == "eager" else to_runtime(model, runtime, report=report)


def _check(names: Sequence[str], runtimes: Sequence[str], batches: Sequence[int], size: int | None) -> None:
    if not names:
        raise ValueError("bench needs at least one network's name.")
    unknown = [one for one in runtimes if one not in _known()]
    if not batches:
        raise ValueError("batches: at least one batch size.")
    if unknown or not runtimes:
        raise ValueError(f"Unknown runtime {unknown[0] if unknown else ''!r}; choose of {', '.join(_known())}.")
    for batch in batches:
        check_whole("batches", batch, 1)
    if size is not None:
        check_whole("size", size, 1)
