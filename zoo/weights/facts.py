"""Check the labels and the notes (`made`) of a model, in the same way when saving and loading. No torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from unicodedata import category

from zoo import kinds
from zoo.files import FileError
from zoo.printable import printable
from zoo.spec import ModelSpec
from zoo.weights.json_text import parse_object

_CONTROLS = ("Cc", "Cs", "Zl", "Zp")  # control characters, surrogates, separators of lines and of paragraphs
_TURNING = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"  # characters that change the direction of writing


def check_labels(spec: ModelSpec, labels: Any) -> tuple[str, ...]:
    """Check that labels are printable strings, one for each output or none at all; raises FileError."""
    if not isinstance(labels, (tuple, list)) or not all(isinstance(label, str) for label in labels):
        raise FileError("labels are strings, one for each class.")
    if odd := next(filter(unprintable, labels), None):
        raise FileError(f"label {_short(odd)} holds {unprintable(odd)!a}, which cannot be printed; take it out.")
    outputs = kinds.layer_widths(spec.rows[-1]).get("out", 0)
    if labels and len(labels) != outputs:
        raise FileError(f"{len(labels)} labels for {outputs} classes; give one each, or none.")
    return tuple(labels)


def unprintable(label: str) -> str:
    """The first character of a label that cannot be printed; empty if there is none.

    Joiners and no-break spaces are allowed: Persian and many emoji need joiners, French needs no-break spaces.
    """
    return next((c for c in label if category(c) in _CONTROLS or c in _TURNING), "")


def write_made(made: Mapping[str, Any]) -> str:
    """`made` as JSON; raises FileError if reading the JSON would give another value (a tuple may become a list)."""
    if not isinstance(made, Mapping):
        raise FileError(f"model.made is an object, not {_short(made)}.")
    try:
        text = json.dumps(dict(made), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise FileError(f"model.made is kept as JSON, and cannot be: {error}.") from None
    if parse_object("model.made", text) != _plain(dict(made)):
        raise FileError("model.made is kept as JSON, and would not be the same: its keys are strings, at every depth.")
    return text


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, (list, tuple)) else value


def _short(value: Any) -> str:
    return printable(repr(value), 100)
