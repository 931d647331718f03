"""Weights with many zeros, stored as one bit a value and the values that are not zero.

Only +0.0 is left out. -0.0 equals 0.0 but has other bits, and loaded weights must equal the saved weights bit for bit.
A pass makes zeros with `where` or `masked_fill`, which write +0.0. `weight * mask` makes -0.0 of negative weights,
which cannot be left out.
"""

from __future__ import annotations

import numpy as np

from zoo.files import FileError

BITS = {np.dtype(np.float32): np.int32, np.dtype(np.int8): np.int8}


def pack(array: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """(mask, values) of a float32 or int8 array of two axes or more, or None where that is not smaller.

    `mask` is uint8 of shape (ceil(size / 8),): bit i % 8 of byte i // 8, low bits first, stands for the i-th value in
    C order. `values` are those whose bit is set, of the array's own dtype.
    """
    if array.dtype not in BITS or array.ndim < 2:
        return None
    bits = np.ascontiguousarray(array).view(BITS[array.dtype])
    kept = int(np.count_nonzero(bits))  # of the bits, for a mask takes a quarter of a large table's memory
    return split(array) if is_smaller(array.size, kept, array.itemsize) else None


def is_smaller(size: int, kept: int, itemsize: int) -> bool:
    """Whether a mask of `size` bits and `kept` values take less than all values."""
    return -(-size // 8) + kept * itemsize < size * itemsize


def split(array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(mask, values) of an array."""
    flat = np.ascontiguousarray(array).reshape(-1)
    kept = flat.view(BITS[flat.dtype]) != 0
    return np.packbits(kept, bitorder="little"), flat[kept]


def unpack(mask: np.ndarray, values: np.ndarray, shape: tuple[int, ...], where: str) -> np.ndarray:
    """The inverse of `pack`. Raises FileError, beginning with `where`, for a mask that does not fit."""
    size = int(np.prod(shape, dtype=np.int64))
    if mask.dtype != np.uint8 or mask.shape != (-(-size // 8),):
        raise FileError(f"{where}: a mask of {size:,} values has {-(-size // 8):,} bytes, not {mask.size:,}.")
    bits = np.unpackbits(mask, bitorder="little")
    if bits[size:].any():
        raise FileError(f"{where}: its mask has bits set behind its {size:,} values.")
    kept = bits[:size].view(np.bool_)
    count = int(np.count_nonzero(kept))
    if values.shape != (count,):
        raise FileError(f"{where}: its mask marks {count:,} values, but {values.size:,} are stored.")
    flat = np.zeros(size, values.dtype)
    flat[kept] = values
    return flat.reshape(shape)
