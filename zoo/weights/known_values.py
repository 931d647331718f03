"""The keys of known values, stored as the whole numbers that they are keys of where these are small.

A key takes eight bytes. Most ids are numbers, and SplitMix64 can be undone, so that one or two bytes say the same.
"""

from __future__ import annotations

import numpy as np

from zoo.files import FileError
from zoo.tabular.keys import mixed_array, unmixed_array
from zoo.weights.container import WIDEST


def pack(array: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """(numbers, values) of int64 keys (n,), or None where that is not smaller.

    `numbers` is uint8 (n, width): the bytes of each key's number, the lowest first. All bits set stand for another key:
    these are `values`, int64, in their order.
    """
    if array.dtype != np.int64 or array.ndim != 1 or not len(array):
        return None
    numbers = unmixed_array(array.view(np.uint64))
    sizes = {width: len(array) * width + 8 * int((numbers >= _others(width)).sum()) for width in range(1, WIDEST + 1)}
    width = min(sizes, key=lambda one: sizes[one])
    if sizes[width] >= array.nbytes:
        return None
    held = np.minimum(numbers, _others(width))
    found = np.ascontiguousarray(held.astype("<u8").view(np.uint8).reshape(-1, 8)[:, :width])
    return found, array[numbers >= _others(width)]


def unpack(numbers: np.ndarray, values: np.ndarray, where: str) -> np.ndarray:
    """The inverse of `pack`. Raises FileError, beginning with `where`, for values that do not fit."""
    wide = np.zeros((len(numbers), 8), np.uint8)
    wide[:, : numbers.shape[1]] = numbers
    found = wide.view("<u8").reshape(-1).astype(np.uint64)
    others = found == _others(numbers.shape[1])
    if values.shape != (int(others.sum()),):
        raise FileError(f"{where}: {int(others.sum()):,} keys are no numbers, but {values.size:,} are stored.")
    keys = mixed_array(found).view(np.int64)
    keys[others] = values
    return keys


def _others(width: int) -> np.uint64:
    """What stands for a key of no number of `width` bytes: all bits."""
    return np.uint64(256**width - 1)
