"""What `zoo.evaluate` measured, as data and as text."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from zoo.printable import printable


@dataclass(frozen=True, repr=False)
class Evaluation:
    """What `zoo.evaluate` measured.

    Attributes:
        metric (str): the name of the main figure of the network's task, "top-1 accuracy" of a classifier.
        value (float): the main figure, in `unit`.
        examples (int): how many examples were measured.
        source (str): where the examples are from.
        sha256 (str): the SHA-256 of the data.
        seconds (float): how long it took, reading included.
        per_class (dict[str, float]): the figure `class_metric` of each class, in percent.
        skipped (tuple[str, ...]): names of examples that could not be read.
        what (str): what the examples are, "pictures" or "texts". Default: "pictures".
        metrics (dict[str, float]): every figure of the task, by name. Default: none.
        unit (str): the unit of `value`. Default: "%".
        intervals (dict[str, tuple[float, float]]): the ends of each figure's 95% interval. Default: none.
        units (dict[str, str]): the unit of each figure in `metrics`. Default: none.
        class_metric (str): the name of the figure in `per_class`, such as "AP". Default: empty.
    """

    metric: str
    value: float
    examples: int
    source: str
    sha256: str
    seconds: float
    per_class: dict[str, float]
    skipped: tuple[str, ...]
    what: str = "pictures"
    metrics: dict[str, float] = field(default_factory=dict)
    unit: str = "%"
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)
    class_metric: str = ""

    def to_json(self) -> dict[str, Any]:
        """The attributes as a dict of JSON values."""
        return asdict(self)

    def __repr__(self) -> str:
        text = (
            f"{self.value:.2f}{self.unit} {self.metric} on {self.examples:,} {self.what} of {printable(self.source)} "
            f"(sha256 {self.sha256[:12]}...), {self.seconds:.1f} s"
        )
        if ends := self.intervals.get(self.metric):
            text += f"\n95% interval {ends[0]:.2f} to {ends[1]:.2f}{self.unit}"
        others = [
            f"{name} {self._shown(name, value)}{self._interval(name)}"
            for name, value in self.metrics.items()
            if name != self.metric
        ]
        if others:
            text += f"\n{', '.join(others)}"
        if self.skipped:
            shown = ", ".join(map(printable, self.skipped[:5])) + (", ..." if len(self.skipped) > 5 else "")
            text += f"\n{len(self.skipped)} could not be read and were left out: {shown}"
        return text

    def _interval(self, name: str) -> str:
        if name not in self.intervals:
            return ""
        low, high = (self._shown(name, end) for end in self.intervals[name])
        return f" ({low} to {high})"

    def _shown(self, name: str, value: float) -> str:
        """Percent as the main figure is; four decimals of what has no unit, such as a log loss."""
        unit = self.units.get(name, "")
        return f"{value:.2f}{unit}" if unit else f"{value:.4f}"
