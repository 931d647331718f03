"""From what flowed over an edge to the range that its 256 codes cover.

Two looks at the data: the first finds the extremes, the second fills a histogram between them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from zoo.passes import OBSERVERS

BINS = 2048
PERCENTILE = 99.99


@dataclass
class Histogram:
    """Counts of values between the extremes of one edge."""

    low: float = float("inf")
    high: float = float("-inf")
    counts: Tensor | None = None

    def widen(self, values: Tensor) -> None:
        """First look: the extremes."""
        low, high = torch.aminmax(values.detach())
        self.low, self.high = min(self.low, low.item()), max(self.high, high.item())

    def count(self, values: Tensor) -> None:
        """Second look: the values between them."""
        high = self.high if self.high > self.low else self.low + 1e-6
        # histc counts in float32, which is exact up to 2**24.
        parts = values.detach().float().flatten().split(1 << 23)
        counts = torch.stack([torch.histc(part, BINS, self.low, high) for part in parts]).double().sum(0).cpu()
        self.counts = counts if self.counts is None else self.counts + counts

    @property
    def centers(self) -> Tensor:
        width = (self.high - self.low) / BINS
        return self.low + width * (torch.arange(BINS, dtype=torch.float64) + 0.5)

    @property
    def filled(self) -> tuple[Tensor, Tensor]:
        """(centers, counts) of the bins that have any."""
        assert self.counts is not None
        some = self.counts > 0
        return self.centers[some], self.counts[some].double()


def merged(histograms: Sequence[Histogram]) -> Histogram:
    """All that was counted on several edges, as of one."""
    whole = Histogram(min(one.low for one in histograms), max(one.high for one in histograms))
    counts = torch.zeros(BINS, dtype=torch.float64)
    step = max(whole.high - whole.low, 1e-6) / BINS
    for one in histograms:
        assert one.counts is not None
        bins = ((one.centers - whole.low) / step).long().clamp_(0, BINS - 1)
        counts.index_add_(0, bins, one.counts.double())
    whole.counts = counts
    return whole


def edge_range(histogram: Histogram, observer: str) -> tuple[float, float]:
    """(low, high) by the named observer, 0 always inside.

    minmax: all that was seen. percentile: all but the outermost hundredth of a percent. mse: the range, cut at either
    end, that loses least by squared error.
    """
    if observer == "minmax":
        low, high = histogram.low, histogram.high
    elif observer == "percentile":
        low, high = _percentile(histogram)
    elif observer == "mse":
        low, high = _least_squares(histogram)
    else:
        raise ValueError(f"Unknown observer {observer!r}; choose one of {OBSERVERS}.")
    return min(low, 0.0), max(high, 0.0)


def scale_and_zero(low: float, high: float) -> tuple[float, int]:
    """The scale and zero point whose 256 codes cover low..high, 0 exactly among them."""
    scale = max((high - low) / 255, 1e-8)
    return scale, min(255, max(0, round(-low / scale)))


def _percentile(histogram: Histogram) -> tuple[float, float]:
    assert histogram.counts is not None
    share = histogram.counts.double().cumsum(0) / histogram.counts.sum()
    outside = (100 - PERCENTILE) / 100
    low = int((share > outside).nonzero()[0])
    high = int((share >= 1 - outside).nonzero()[0])
    centers = histogram.centers
    return float(centers[low]), float(centers[high])


def _least_squares(histogram: Histogram) -> tuple[float, float]:
    """One end at a time, twice: a search over both at once costs twenty times as much and finds the same."""
    values, counts = histogram.filled
    shares = torch.linspace(0.3, 1.0, 36, dtype=torch.float64).tolist()
    low, high = min(histogram.low, 0.0), max(histogram.high, 0.0)
    lows, highs = [low * share for share in shares], [high * share for share in shares]

    def best(candidates: list[tuple[float, float]]) -> tuple[float, float]:
        coded = torch.tensor([scale_and_zero(*ends) for ends in candidates], dtype=torch.float64)
        scale, zero = coded[:, :1], coded[:, 1:]
        codes = (values / scale).round_().add_(zero).clamp_(0, 255)
        return candidates[int((codes.sub_(zero).mul_(scale).sub_(values).square_().mul_(counts)).sum(1).argmin())]

    for _ in range(2):
        if high > 0:
            low, high = best([(low, candidate) for candidate in highs])
        if low < 0:
            low, high = best([(candidate, high) for candidate in lows])
    return low, high
