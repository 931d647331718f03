"""Sizes, speeds and times as people write them: 8GB, 10Gbps, 50us, 120 TFLOPS."""

from __future__ import annotations

import re

from zoo.checks import is_number, short

_PREFIXES = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15}
_BINARY = {"Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40}
_TIMES = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_BYTES = {f"{prefix}B": factor for prefix, factor in (_PREFIXES | _BINARY).items()}
_UNITS: dict[str, tuple[dict[str, float], str]] = {
    "bytes": (_BYTES, "8GB or 16GiB"),
    "bandwidth": (
        {f"{unit}ps": factor for unit, factor in _BYTES.items()}
        | {f"{prefix}bps": factor / 8 for prefix, factor in _PREFIXES.items()}
        | {f"{prefix}bit/s": factor / 8 for prefix, factor in _PREFIXES.items()}
        | {f"{unit}/s": factor for unit, factor in _BYTES.items()},
        "10Gbps or 25GB/s",
    ),
    "seconds": (_TIMES, "50us or 0.1ms"),
    "flops": (
        {f"{prefix}{unit}": factor for prefix, factor in _PREFIXES.items() for unit in ("", "FLOPS", "FLOP/s")},
        "60TFLOPS or 6e13",
    ),
}
_WRITTEN = re.compile(r"\s*(\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|\.\d+)\s*([^\s\d]*)\s*")


def read(name: str, value: str | float, what: str) -> float:
    """The number of an argument called `name`; `what` is "bytes", "bandwidth" (bytes a second), "seconds" or "flops".

    A number is in the plain unit; text has a unit. Raises ValueError for anything else, and for what is not above 0.
    """
    units, examples = _UNITS[what]
    plain = {unit.lower(): factor for unit, factor in units.items()}  # gbps are bits
    number: float | None = None
    if isinstance(value, str):
        if written := _WRITTEN.fullmatch(value):
            unit = written[2]
            factor = units.get(unit, plain.get(unit.lower()))
            number = None if factor is None else float(written[1]) * factor
    elif is_number(value):
        number = float(value)
    if number is None or not is_number(number) or number < 0 or (number == 0 and what != "seconds"):
        raise ValueError(f"{name}= takes {what} above 0, such as {examples}, not {short(value)}.")
    return number
