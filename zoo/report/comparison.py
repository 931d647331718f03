"""What `zoo.compare` gives: a row for each network, and the table that they make."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from zoo import formatting

SHARE = "top-1 %"  # the heading of a classifier's accuracy


@dataclass(frozen=True)
class Row:
    """One network of a `Comparison`; None stands for what is not known or cannot be compared.

    Attributes:
        name (str): the network's full name, or its path.
        variant (str): its passes, such as "pruned-int8", or "dense".
        parameters (int): learned values.
        nonzero (int | None): learned values that are not zero; None for a network that does not ship.
        macs (int): multiply-accumulates for one input.
        bytes (int): the size of the file.
        peak_memory (int | None): bytes that a fresh process takes above torch itself, at batch 32; None outside Linux.
        accuracy (float | None): percent of the examples answered rightly; None where the network has other labels.
        agreement (float | None): percent of the examples answered as the first network answers them.
        full_accuracy (float | None): percent on the whole test set, from the manifest of what ships.
        time_batch_1 (float): time for one input at batch 1, relative to the first network.
        time_batch_32 (float): time for one input at batch 32, relative to the first network.
        metrics (dict[str, float]): all figures of a task without classes on the examples, such as AUC and log loss.
            Default: none.
        intervals (dict[str, tuple[float, float]]): the ends of the 95% interval of each of these. Default: none.
        full_interval (tuple[float, ...]): the ends of that of `full_accuracy`, from the manifest. Default: not known.
    """

    name: str
    variant: str
    parameters: int
    nonzero: int | None
    macs: int
    bytes: int
    peak_memory: int | None
    accuracy: float | None
    agreement: float | None
    full_accuracy: float | None
    time_batch_1: float
    time_batch_32: float
    metrics: dict[str, float] = field(default_factory=dict)
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    full_interval: tuple[float, ...] = ()


@dataclass(frozen=True, repr=False)
class Comparison:
    """What `zoo.compare` measured; `str()` is a table, and a notebook shows it as one.

    Attributes:
        rows (tuple[Row, ...]): the networks, in the order given.
        purpose (str): what the first network is for.
        images (int): how many examples were answered.
        full_test (str): the data of `Row.full_accuracy`.
        rounds (tuple[int, int]): rounds of timing at batch 1 and at batch 32.
        threads (int): threads of torch.
        cpu (str): the name of the processor.
        torch (str): the version of torch.
        source (str): where your own examples are from. Default: "", the shipped pictures.
        metric (str): the name of the figure in `Row.accuracy` and `Row.full_accuracy`. Default: "top-1 accuracy".
        one (str): what one example is. Default: "picture".
        seconds (tuple[float, float]): what one input takes the first network at batch 1 and 32. Default: (0, 0), not
            known.
        reference (bool): whether int8 rows ran their float reference, because the processor's integer operators
            saturate. Default: False.
        groups (str): the column whose equal values were drawn together for the intervals. Default: "", each example
            was drawn by itself.
    """

    rows: tuple[Row, ...]
    purpose: str
    images: int
    full_test: str
    rounds: tuple[int, int]
    threads: int
    cpu: str
    torch: str
    source: str = ""  # the source of your own examples
    metric: str = "top-1 accuracy"
    one: str = "picture"
    seconds: tuple[float, float] = (0.0, 0.0)
    reference: bool = False  # int8 rows ran in the float reference: this host has no trusted integer operators
    groups: str = ""

    def to_json(self) -> dict[str, Any]:
        """The attributes as a dict of JSON values."""
        return asdict(self)

    def headers(self) -> list[str]:
        """The headings of the table's columns."""
        return [heading for heading, _ in self._columns()]

    def cells(self) -> list[list[str]]:
        """The text of the table's cells, by rows."""
        return [[shown(row) for _, shown in self._columns()] for row in self.rows]

    def _columns(self) -> list[tuple[str, Callable[[Row], str]]]:
        """(heading, what shows a row's figure); those of examples, and of the full test, only where there are some."""
        digits = "{:.1f}" if self._figure == SHARE else "{:.2f}"
        here: list[tuple[str, Callable[[Row], str]]] = [
            (
                f"{self._figure}\nof {self.images}",
                lambda row: _or_dash(row.accuracy, digits.format) + _between(row.intervals.get(self.metric), "{:.1f}"),
            ),
        ]
        others = dict.fromkeys(name for row in self.rows for name in row.metrics if name != self.metric)
        here += [(f"{name}\nof {self.images}", _further(name)) for name in others]
        if any(row.agreement is not None for row in self.rows):
            here.append(("same\n%", lambda row: _or_dash(row.agreement, "{:.1f}".format)))
        full: tuple[str, Callable[[Row], str]] = (
            f"{self._figure}\nall",
            lambda row: _or_dash(row.full_accuracy, "{:.2f}".format) + _between(row.full_interval, "{:.1f}"),
        )
        return [
            ("variant", lambda row: row.variant),
            ("params", lambda row: formatting.count(row.parameters)),
            ("not\nzero", lambda row: _or_dash(row.nonzero, formatting.count)),
            ("MACs", lambda row: formatting.count(row.macs)),
            ("file", lambda row: formatting.size(row.bytes)),
            ("peak\nmemory", lambda row: _or_dash(row.peak_memory, formatting.size)),
            *(here if self.images else ()),
            *((full,) if self.full_test else ()),
            ("time\nx1", lambda row: f"{row.time_batch_1:.2f}"),
            ("time\nx32", lambda row: f"{row.time_batch_32:.2f}"),
        ]

    @property
    def _figure(self) -> str:
        return SHARE if self.metric in ("top-1 accuracy", "accuracy") else self.metric

    @property
    def _took(self) -> str:
        if not all(self.seconds):
            return ""
        return ", " + " and ".join(
            f"{1e6 * one:,.0f} microseconds" if one < 1e-3 else f"{1e3 * one:,.1f} ms" for one in self.seconds
        )

    def title(self) -> str:
        """The heading of the table."""
        return f"{self.rows[0].name}: {self.purpose}"

    def notes(self) -> list[str]:
        """Lines below the table: what the columns mean, and how they were measured."""
        judged = f"examples of {self.source}" if self.source else "shipped test pictures"
        first, full = self.rows[0].variant, f"; all: {self.full_test}" if self.full_test else ""
        eager = "eager, as zoo.create gives it"
        rounds = f"medians of {self.rounds[0]} and {self.rounds[1]} rounds, interleaved"
        others = [row.variant for row in self.rows if self.images and row.accuracy is None]
        alike = f"same %: {'examples' if self.source else 'pictures'} answered as {first} answers them."
        here = [
            f"{self._figure}: of {self.images} {judged}, here and now{full}.",
            *([alike] if any(row.agreement is not None for row in self.rows) else []),
        ]
        notes = [f"no {self._figure} of {', '.join(others)}: labels other than the pictures'."] if others else []
        if any(row.intervals or row.full_interval for row in self.rows):
            drawn = f"those of one {self.groups} together" if self.groups else f"each {self.one} by itself"
            ours = f", {drawn}" if any(row.intervals for row in self.rows) else ""
            here.append(f"(from-to): 95% intervals by bootstrap{ours}.")
        return [
            *(here if self.images else [f"{self._figure} all: {self.full_test}."] * bool(self.full_test)),
            f"time: per {self.one} at batch 1 and 32, {first} = 1{self._took} ({eager}); {rounds}.",
            "peak memory: what a fresh process takes above torch itself, at batch 32.",
            *notes,
            *(["int8: its float reference, for this processor's integer operators saturate."] * self.reference),
            f"{self.cpu}, {self.threads} thread{'s' if self.threads != 1 else ''}, torch {self.torch}.",
        ]

    def __str__(self) -> str:
        table = formatting.text(self.headers(), self.cells(), gap=" ")
        return "\n".join([self.title(), "", table, "", *self.notes()])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return formatting.html(self.headers(), self.cells(), caption=self.title(), notes=self.notes())


def _further(name: str) -> Callable[[Row], str]:
    return lambda row: _or_dash(row.metrics.get(name), "{:.4f}".format)


def _between(ends: Sequence[float] | None, shown: str) -> str:
    return f" ({shown.format(ends[0])}-{shown.format(ends[1])})" if ends else ""


def _or_dash(value: Any, shown: Callable[[Any], str]) -> str:
    return "-" if value is None else shown(value)
