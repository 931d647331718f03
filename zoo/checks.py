"""Checks of values from files of unknown origin, and the error that they raise."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Mapping, Set
from typing import Any

from zoo.printable import PrintableError, printable

MAX_INT = 2**53  # the largest that every reader of JSON keeps exactly
MOST = 2**31 - 1  # of sizes and counts: the largest whole number of every library below
MAX_SEED = 2**63 - 1
MAX_THREADS = 1024


class SpecError(PrintableError):
    """A spec that describes no network: unknown keys, wrong types, or values out of bounds.

    Args:
        message (str): the row and the argument, and what is allowed.

    Example:
        >>> zoo.ModelSpec("tiny", rows=())
        Traceback (most recent call last):
            ...
        SpecError: Not a model spec: a spec has 1 to 4096 rows, not 0.
    """


# What passes and trainings add to in a model's `made`; everything else in it is anybody's.
NOTES: Mapping[str, type] = {"passes": list, "edited": list, "trained_before": list, "trained": dict}

short = reprlib.repr


def require(condition: bool, message: str) -> None:
    if not condition:
        raise SpecError(f"Not a model spec: {message}.")


def is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """Whether it is a finite number that JSON keeps."""
    if is_int(value):
        return bool(abs(value) <= MAX_INT)
    return isinstance(value, float) and math.isfinite(value)


def check_whole(name: str, value: Any, least: int = 0, most: int = MOST) -> None:
    """Raise ValueError unless an argument is a whole number within bounds; torch takes no larger ones."""
    if not is_int(value) or not least <= value <= most:
        raise ValueError(f"{name}= takes a whole number from {least:,} to {most:,}, not {short(value)}.")


def check_told(**arguments: Any) -> None:
    """Raise ValueError for an argument that is an empty text: it would count as none, without a word."""
    for name, value in arguments.items():
        if value == "" and isinstance(value, str):
            raise ValueError(f"{name}= is empty (''). Leave it out, or give a value.")


def check_flag(name: str, value: Any) -> None:
    """Raise ValueError unless an argument is True or False: any other value would be taken as one of them."""
    if not isinstance(value, bool):
        raise ValueError(f"{name}= takes True or False, not {short(value)}.")


def noted(made: Mapping[str, Any], key: str) -> Any:
    """The part of a model's `made` that `NOTES` has under `key`, empty where there is none.

    Raises ValueError where it has another form: what comes after could not be added to it.
    """
    value, form = made.get(key, NOTES[key]()), NOTES[key]
    if not isinstance(value, form) or (isinstance(value, list) and not all(isinstance(one, dict) for one in value)):
        wanted = "a list of objects" if form is list else "an object"
        raise ValueError(f"model.made says {key}: {printable(repr(value), 100)}, which is not {wanted}; take it out.")
    return value


def check_keys(data: Any, what: str, required: Set[str], optional: Set[str] = frozenset()) -> None:
    """Raise SpecError unless `data` is a mapping with all the required keys and no others than the optional ones."""
    require(isinstance(data, Mapping), f"{what} is an object, not {type(data).__name__}")
    missing, unknown = required - set(data), set(data) - required - optional
    require(not missing, f"{what} lacks {sorted(missing)}")
    require(not unknown, f"{what} has unknown keys {sorted(unknown)}")
