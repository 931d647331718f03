"""One rule for the settings of other libraries: a key is used, harmless, allowed with some values, or refused by name.

A `Table` has the rules of one kind of file. No torch.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from zoo.files import FileError
from zoo.spec import SpecError
from zoo.weights import json_text

MAX_SETTINGS = 4 * 1024 * 1024  # bytes of a settings file
OFF: tuple[Any, ...] = (None, False, 0, "", [], {})  # a setting with one of these values is off


@dataclass(frozen=True)
class Table:
    """The keys of one kind of settings file.

    `used`: keys that the reader uses or refuses itself. `harmless`: keys that change no answer. `allowed`: keys with
    the values that the zoo's network supports. Any other key is refused unless its value is one of `OFF`. A key that
    starts with an underscore is a library's own note, and harmless.
    """

    file: str
    used: frozenset[str] = frozenset()
    harmless: frozenset[str] = frozenset()
    allowed: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)

    def check(self, settings: Mapping[str, Any]) -> None:
        """Raise SpecError that names the first key with a value that the zoo cannot honour."""
        for key, value in settings.items():
            if key in self.allowed:
                if not _among(value, self.allowed[key]):
                    right = " or ".join(json.dumps(one) for one in self.allowed[key] if one is not None)
                    raise SpecError(f"{self.said(key, value)}, and the zoo's networks have {right}")
            elif not (self.knows(key) or _among(value, OFF)):
                raise SpecError(
                    f"{self.said(key, value)}, a setting that the zoo does not know; take it out of the file if it "
                    "changes no answer"
                )

    def knows(self, key: str) -> bool:
        """Whether the table has a rule for the key."""
        return key in self.used or key in self.harmless or key in self.allowed or key.startswith("_")

    def said(self, key: str, value: Any) -> str:
        """A setting in the words of messages: the file, the key and the value."""
        return f"{self.file} says {key if key.isidentifier() else short(key)}: {short(value)}"

    def more(
        self,
        used: Iterable[str] = (),
        harmless: Iterable[str] = (),
        allowed: Mapping[str, tuple[Any, ...]] = MappingProxyType({}),
    ) -> Table:
        """The same table with more keys."""
        return Table(self.file, self.used | set(used), self.harmless | set(harmless), {**self.allowed, **allowed})


def read_settings(file: Path) -> dict[str, Any]:
    """Read the object in a JSON file; empty if there is no file. Raises SpecError for any other content."""
    found = read_json(file)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise SpecError(f"{file.name} holds {type(found).__name__}, not an object")
    return found


def read_json(file: Path) -> Any:
    """Read a JSON file; None if it is missing. Raises SpecError if it is too large or no JSON."""
    if not file.is_file():
        return None
    try:
        return json_text.read_json(file, MAX_SETTINGS)
    except FileError as error:
        raise SpecError(str(error)) from None


def words(text: str) -> frozenset[str]:
    """Split a text into words; a table of one text is easier to read than many strings."""
    return frozenset(text.split())


def number(settings: Mapping[str, Any], key: str, usual: float | None = None) -> float:
    """A number of a config.json, `usual` where it is null or missing; raises SpecError for what is none."""
    value = settings.get(key)
    value = usual if value is None else value
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise SpecError(f"config.json says {key}: {short(value)}, which is no number")
    return float(value)


def switch(settings: Mapping[str, Any], key: str, file: str) -> bool:
    """Whether a settings file says true, not false, null or nothing; raises SpecError for anything else."""
    value = settings.get(key)
    if value is not None and not isinstance(value, bool):
        raise SpecError(f"{file} says {key}: {short(value)}, which is neither true nor false")
    return bool(value)


def short(value: Any) -> str:
    """A value of a settings file, shortened for a message."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _among(value: Any, values: Collection[Any]) -> bool:
    """Whether `value` is one of the values. True differs from 1; the numbers 0 and 0.0 are equal."""
    return any(value == one and isinstance(value, bool) == isinstance(one, bool) for one in values)
