"""Counts over the columns of a table that is read once, batch by batch."""

from __future__ import annotations

import math

import numpy as np

from zoo.inputs.feature import FURTHEST
from zoo.tabular.columns import Keyed
from zoo.tabular.keys import Unfit

MOST = 2**25  # different values that are counted; beyond, those seen once so far are forgotten
SAMPLE = 100_000  # numbers that quantiles are taken of, at most


class KeyCounts:
    """How often each key occurs."""

    def __init__(self) -> None:
        self._keys, self._counts = np.zeros(0, np.int64), np.zeros(0, np.int64)
        self._new: list[tuple[np.ndarray, np.ndarray]] = []
        self._waiting = 0
        self.missing = 0

    def add(self, found: Keyed, rows: int) -> None:
        """The values of `rows` rows, or of lists."""
        if found.codes is not None:
            codes = found.codes if found.missing is None else found.codes[~found.missing]
            counts = np.bincount(codes, minlength=len(found.keys))
            keys = found.keys[counts > 0]
            counts = counts[counts > 0]
        else:
            keys = found.keys if found.missing is None else found.keys[~found.missing]
            counts = np.ones(len(keys), np.int64)
        self.missing += rows - int(counts.sum())
        self._new.append((keys, counts))
        self._waiting += len(keys)
        if self._waiting > max(2**20, len(self._keys)):
            self._merge()

    @property
    def total(self) -> int:
        return int(self.counts.sum())

    @property
    def keys(self) -> np.ndarray:
        """The different keys, sorted."""
        self._merge()
        return self._keys

    @property
    def counts(self) -> np.ndarray:
        """How often each of `keys` occurs."""
        self._merge()
        return self._counts

    def most_frequent(self, count: int) -> np.ndarray:
        """Up to `count` keys, sorted; of keys that occur equally often, the smaller ones."""
        if len(self.keys) <= count:
            return self.keys
        order = np.argsort(-self.counts, kind="stable")[:count]
        return np.sort(self.keys[order])

    def _merge(self) -> None:
        if not self._new:
            return
        keys = np.concatenate([self._keys, *(keys for keys, _ in self._new)])
        counts = np.concatenate([self._counts, *(counts for _, counts in self._new)])
        self._new, self._waiting = [], 0
        self._keys, places = np.unique(keys, return_inverse=True)
        self._counts = np.bincount(places, weights=counts, minlength=len(self._keys)).astype(np.int64)
        if len(self._keys) > MOST:
            kept = self._counts > 1
            self._keys, self._counts = self._keys[kept], self._counts[kept]


class Numbers:
    """Mean, deviation, ends and quantiles of numbers; nan is missing."""

    def __init__(self) -> None:
        self.count, self.missing, self.mean = 0, 0, 0.0
        self.low, self.high = math.inf, -math.inf
        self.whole = True
        self._squares = 0.0
        self._every, self._seen = 1, 0
        self._sample = list[np.ndarray]()

    def add(self, numbers: np.ndarray) -> None:
        """float64 (N,). Means are joined as by Chan et al. (1979). Raises Unfit for numbers too large for a mean."""
        there = numbers[np.isfinite(numbers)]
        self.missing += len(numbers) - len(there)
        if not len(there):
            return
        if (furthest := float(np.abs(there).max())) > FURTHEST:
            raise Unfit(f"has numbers up to {furthest:g}, and {FURTHEST:g} is the largest that is standardised")
        mean, count = float(there.mean()), len(there)
        away, total = mean - self.mean, self.count + count
        self._squares += float(((there - mean) ** 2).sum()) + away**2 * self.count * count / total
        self.mean += away * count / total
        self.count = total
        self.low, self.high = min(self.low, float(there.min())), max(self.high, float(there.max()))
        self.whole = self.whole and bool((there == np.trunc(there)).all())
        self._sample.append(there[(-self._seen) % self._every :: self._every])
        self._seen += count
        while sum(map(len, self._sample)) > SAMPLE:
            self._sample = [np.concatenate(self._sample)[::2]]
            self._every *= 2

    @property
    def std(self) -> float:
        return math.sqrt(self._squares / self.count) if self.count else 0.0

    def quantiles(self, parts: int) -> list[float]:
        """The numbers between `parts` parts of equal size, without repetitions; of a sample, where there are many."""
        found = np.quantile(np.concatenate(self._sample), np.arange(1, parts) / parts, method="higher")
        return sorted(set(found.tolist()))
