"""Read JSON from outside, bounded in length, depth and digits; duplicate keys are refused. No torch."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

from zoo.files import FileError
from zoo.printable import printable

MAX_BYTES = 4 * 1024 * 1024  # of a file of settings
MAX_DEPTH = 64
MAX_DIGITS = 100  # of an integer; a float has at most 308
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def read_object(file: Path, most: int = MAX_BYTES) -> dict[str, Any]:
    """Read a JSON object from a file of at most `most` bytes; raises FileError."""
    return _an_object(f"{file}:", read_json(file, most))


def read_json(file: Path, most: int = MAX_BYTES) -> Any:
    """Read any JSON value from a file of at most `most` bytes; raises FileError."""
    try:
        with file.open("rb") as opened:
            text = opened.read(most + 1)
    except OSError as error:
        raise FileError(f"{file}: cannot be read: {error.strerror or error}.") from None
    if len(text) > most:
        raise FileError(f"{file}: is larger than {most:,} bytes, and refused.")
    return _parsed(f"{file}:", text)


def parse_object(where: str, text: bytes | str) -> dict[str, Any]:
    """Parse one JSON object.

    Raises FileError, beginning with `where`, for any other value, a duplicate key, NaN or infinity (1e999 is infinity),
    half a surrogate pair, numbers of more than `MAX_DIGITS` digits, and values nested deeper than `MAX_DEPTH`.
    """
    return _an_object(where, _parsed(where, text))


def _an_object(where: str, data: Any) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise FileError(f"{where} is not a JSON object.")
    return data


def _parsed(where: str, text: bytes | str) -> Any:
    try:
        decoded = text.decode() if isinstance(text, bytes) else text
        data = json.loads(decoded, object_pairs_hook=_unique, **_NUMBERS)
        _check_depth(data)
        if _SURROGATE.search(decoded):
            json.dumps(data, ensure_ascii=False).encode()
    except RecursionError:
        raise FileError(f"{where} does not parse: it is nested deeper than {MAX_DEPTH}.") from None
    except ValueError as error:
        raise FileError(f"{where} does not parse: {printable(error, 200)}.") from None
    return data


def _unique(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in pairs:
        if key in out:
            raise ValueError(f"the key {printable(repr(key), 100)} comes twice")
        out[key] = value
    return out


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _whole(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError(f"a number has {len(digits):,} digits")
    return int(digits)


def _fraction(digits: str) -> float:
    if math.isinf(value := float(digits)):
        raise ValueError(f"the number {printable(digits, 30)} is larger than a float can be")
    return value


_NUMBERS: dict[str, Any] = {"parse_constant": _refuse, "parse_int": _whole, "parse_float": _fraction}


def _check_depth(data: Any) -> None:
    level, depth = [data], 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise ValueError(f"it is nested deeper than {MAX_DEPTH}")
        level = [one for value in level for one in _inside(value) if isinstance(one, (dict, list))]


def _inside(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()
