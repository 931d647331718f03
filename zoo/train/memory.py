"""The C library keeps freed memory while a network trains.

glibc gives large blocks back to the system as soon as they are free; the next layer takes new ones, whose pages fault
one by one. On a CPU that is 15 to 25% of a step of a small network.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD = -1, -2, -3  # mallopt's, of malloc.h
TRAINING = {TRIM_THRESHOLD: 2**31 - 1, TOP_PAD: 2**28, MMAP_THRESHOLD: 2**30}
AFTERWARDS = {TRIM_THRESHOLD: 2**26, TOP_PAD: 2**17, MMAP_THRESHOLD: 2**25}  # what glibc itself arrives at by then


@contextmanager
def kept_memory() -> Iterator[None]:
    """While open, freed memory stays with the process; nothing happens where the C library is not glibc."""
    _set(TRAINING)
    try:
        yield
    finally:
        _set(AFTERWARDS)


def _set(options: dict[int, int]) -> None:
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for option, value in options.items():
            mallopt(option, value)
