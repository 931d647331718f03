"""The keys of ids that lie close together, stored as one bit for each number up to the largest.

The keys of a feature are sorted, so a set says them all. Ids from 1 to 943 take 118 bytes, not 7,544.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from zoo.files import FileError
from zoo.tabular.keys import mixed_array, unmixed_array
from zoo.weights.container import MOST_RUNS


def pack(array: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """(bits, runs, values) of int64 keys (n,), or None where that is not smaller.

    The keys are a few runs, each sorted and without repetition. Of a run, `bits` has a bit for each number up to the
    largest that counts, low bits first, set where its key is there, and `values` has the other keys, int64, sorted.
    `runs`, int64 (runs, 2), says how many bytes and how many other keys each run has.
    """
    if array.dtype != np.int64 or array.ndim != 1 or not len(array):
        return None
    starts = [0, *(np.flatnonzero(array[1:] <= array[:-1]) + 1).tolist(), len(array)]
    if len(starts) > MOST_RUNS:
        return None
    parts = [_packed(array[start:stop]) for start, stop in pairwise(starts)]
    bits, values = (np.concatenate([part[at] for part in parts]) for at in (0, 1))
    runs = np.array([[len(own), len(others)] for own, others in parts], dtype=np.int64)
    return (bits, runs, values) if bits.nbytes + runs.nbytes + values.nbytes < array.nbytes else None


def unpack(bits: np.ndarray, runs: np.ndarray, values: np.ndarray, count: int, where: str) -> np.ndarray:
    """The inverse of `pack`, `count` keys. Raises FileError, beginning with `where`, for what does not fit together."""
    fit = bool((runs >= 0).all()) and np.array_equal(runs.sum(0), (len(bits), len(values)))
    if not fit or int(np.unpackbits(bits).sum()) + len(values) != count:
        raise FileError(f"{where}: the stored ids are not {count:,} keys in {len(runs)} runs; get the file again.")
    parts, byte, other = [], 0, 0
    for length, others in runs.tolist():
        numbers = np.flatnonzero(np.unpackbits(bits[byte : byte + length], bitorder="little"))
        known = mixed_array(numbers.astype(np.uint64)).view(np.int64)
        parts.append(np.sort(np.concatenate([known, values[other : other + others]])))
        byte, other = byte + length, other + others
    return np.concatenate(parts)


def _packed(run: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(bits, other keys) of one run, where they are smallest: larger numbers cost more bits than keys."""
    numbers = unmixed_array(run.view(np.uint64))
    order = np.argsort(numbers)
    sizes = numbers[order] / 8 + 8.0 * np.arange(len(run) - 1, -1, -1)  # if this one is the largest with a bit
    best = int(np.argmin(sizes))
    if sizes[best] >= run.nbytes:
        return np.zeros(0, np.uint8), run
    chosen = np.sort(order[: best + 1])
    marks = np.zeros(int(numbers[order[best]]) + 1, np.bool_)
    marks[numbers[chosen]] = True
    return np.packbits(marks, bitorder="little"), np.delete(run, chosen)
