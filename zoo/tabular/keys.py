"""The 64-bit key of a value: what a network knows of the values in its tables.

A file holds keys, no texts. A whole number is the same value as a number, as a float and as a text: 17, 17.0, "17" and
"17.0" have one key. So have True, 1 and "true". None, nan and "" are missing and have none.

Whole numbers are mixed by SplitMix64 (Steele et al., 2014), which no two share; other values are hashed by BLAKE2b.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from hashlib import blake2b
from typing import Any

import numpy as np

LEAST, MOST = -(2**63), 2**64 - 1  # the whole numbers that have a key
EXACT = 2**53  # the largest float behind which whole numbers are missing

_MASK = 2**64 - 1
_STEP, _FIRST, _SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_UPPER = 0x2545F4914F6CDD1D  # apart: unsigned numbers from 2**63, whose bits are those of negative ones
_WHOLE = re.compile(r"(-?(?:0|[1-9][0-9]{0,19}))(?:\.0+)?")
_TRUTH = {"true": 1, "True": 1, "false": 0, "False": 0}


class Unfit(ValueError):
    """A value, or a column, that is not of the kind that its feature takes; the encoder adds the column's name."""


def signed(key: int) -> int:
    return key - 2**64 if key >= 2**63 else key


def mixed(number: int) -> int:
    """SplitMix64 of 64 bits, unsigned."""
    z = (number + _STEP) & _MASK
    z = ((z ^ (z >> 30)) * _FIRST) & _MASK
    z = ((z ^ (z >> 27)) * _SECOND) & _MASK
    return z ^ (z >> 31)


def of_value(value: Any) -> int | None:
    """The key of one value, signed; None for a missing one. Raises Unfit for what has no key, such as a list."""
    kind = type(value)
    if kind is str:
        return _of_text(value)
    if kind is int or kind is bool:
        if not LEAST <= value <= MOST:
            raise Unfit(f"has the whole number {_short(value)}, which is beyond 64 bits. Give such ids as texts")
        return signed(mixed(value & _MASK) ^ (_UPPER if value >= 2**63 else 0))
    if value is None:
        return None
    if kind is float:
        return _of_float(value)
    if isinstance(value, np.generic):
        return of_value(value.item())
    if isinstance(value, (int, float)):
        return of_value(int(value) if isinstance(value, int) else float(value))
    if isinstance(value, str):
        return _of_text(str(value))
    if isinstance(value, Decimal):
        if value.is_nan():
            return None
        digits = f"{value:f}"  # normalize() would round to 28 digits
        return _of_text(digits.rstrip("0").rstrip(".") if "." in digits else digits)
    if kind.__name__ in ("NAType", "NaTType"):  # of pandas
        return None
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):  # of numpy or torch
        return of_value(value.item())
    raise Unfit(f"has a {kind_of(value)} where a single number or text belongs")


def kind_of(value: Any) -> str:
    """What a value is, for messages: a list stands for all sequences, a dict for all mappings."""
    if isinstance(value, Mapping):
        return "dict"
    if isinstance(value, (bytes, str, set, frozenset)) or not isinstance(value, Iterable):
        return type(value).__name__
    return "list"


def of_integers(numbers: np.ndarray) -> np.ndarray:
    """The keys of whole numbers of any width, signed int64."""
    z = numbers.astype(np.int64).view(np.uint64) if numbers.dtype != np.uint64 else numbers
    upper = z >= np.uint64(2**63) if numbers.dtype == np.uint64 else None
    z = mixed_array(z)
    if upper is not None and upper.any():
        z = np.where(upper, z ^ np.uint64(_UPPER), z)
    return z.view(np.int64)


def mixed_array(numbers: np.ndarray) -> np.ndarray:
    """SplitMix64 of uint64."""
    z = numbers + np.uint64(_STEP)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(_FIRST)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(_SECOND)
    return z ^ (z >> np.uint64(31))


def unmixed_array(mixed: np.ndarray) -> np.ndarray:
    """The inverse of `mixed_array`."""
    z = mixed ^ (mixed >> np.uint64(31)) ^ (mixed >> np.uint64(62))
    z = z * np.uint64(pow(_SECOND, -1, 2**64))
    z = z ^ (z >> np.uint64(27)) ^ (z >> np.uint64(54))
    z = z * np.uint64(pow(_FIRST, -1, 2**64))
    z = z ^ (z >> np.uint64(30)) ^ (z >> np.uint64(60))
    return z - np.uint64(_STEP)


def of_floats(numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(keys int64, which are missing) of floats. Raises Unfit for infinity, and for whole numbers from 2**53."""
    numbers = numbers.astype(np.float64)
    missing = np.isnan(numbers)
    filled = np.where(missing, 0.0, numbers)
    if (large := np.abs(filled) >= EXACT).any():
        _of_float(float(filled[large][0]))  # raises
    whole = filled == np.trunc(filled)
    keys = of_integers(np.where(whole, filled, 0.0).astype(np.int64))
    if not whole.all():
        broken, places = np.unique(filled[~whole], return_inverse=True)
        keys[~whole] = np.array([_of_float(one) for one in broken.tolist()], dtype=np.int64)[places]
    return keys, missing


def _of_float(value: float) -> int | None:
    if value != value:
        return None
    if abs(value) >= EXACT:
        why = "infinity" if abs(value) == float("inf") else f"the float {value!r}, which may stand for several ids"
        raise Unfit(f"has {why}. Give whole numbers or texts")
    return of_value(int(value)) if value == int(value) else _hashed(repr(value))


def _of_text(text: str) -> int | None:
    if not text:
        return None
    if (text[0] in "-0123456789" and text[-1].isdigit()) and (found := _WHOLE.fullmatch(text)):
        number = int(found[1])
        if LEAST <= number <= MOST:
            return of_value(number)
    if (truth := _TRUTH.get(text)) is not None:
        return of_value(truth)
    return _hashed(text)


def _hashed(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest(), "little", signed=True)


def _short(number: int) -> str:
    return str(number) if abs(number) < 10**40 else f"of {number.bit_length():,} bits"
