"""Float weights stored in half precision: half of a file's bytes. They are float32 again when they are loaded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

DTYPES = ("float32", "float16")


def check_dtype(dtype: object) -> None:
    """Raise ValueError for a dtype that files do not hold weights in."""
    if dtype not in DTYPES:
        raise ValueError(f"dtype must be one of {list(DTYPES)}, not {dtype!r}; zoo.compress makes int8 weights.")


def halved(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """The arrays of a file, with float32 weights as float16; raises ValueError for a weight beyond float16.

    Weights are kernels and matrices, packed or not. All else stays: biases, the statistics of norms, scales.
    """
    return {name: _half(name, array) if _is_weight(name, array) else array for name, array in arrays.items()}


def _is_weight(name: str, array: np.ndarray) -> bool:
    packed = name.endswith("weight.values")
    return array.dtype == np.float32 and (packed or (name.endswith("weight") and array.ndim > 1))


def _half(name: str, array: np.ndarray) -> np.ndarray:
    largest = float(np.finfo(np.float16).max)
    if array.size and not float(np.abs(array).max()) <= largest:  # nan too
        raise ValueError(f"{name} has a value that is not finite or beyond {largest:,.0f}; save with dtype='float32'.")
    return array.astype(np.float16)
