"""Write the folder of a network: replaced as a whole or not at all. A README that a person wrote stays."""

from __future__ import annotations

import hashlib
import json
import os
import re
import warnings
from collections.abc import Iterable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any

from zoo.files import FileError, make_folder, path_to_write, unfinished, write_parts
from zoo.spec import ModelSpec
from zoo.weights.card import card
from zoo.weights.container import CONFIG, INDEX, WEIGHTS

README = "README.md"
MAX_README = 4 * 1024 * 1024  # bytes
OURS = re.compile(r"model(-\d{5}-of-\d{5}(-[0-9a-f]{12})?)?\.safetensors")  # the names of `save` for weight files
_SEAL = re.compile(r"<!-- Written by zoo; sha256 ([0-9a-f]{16}) -->\n")


def write_folder(
    folder: str | os.PathLike[str],
    files: Mapping[str, Iterable[Any]],
    spec: ModelSpec,
    labels: tuple[str, ...],
    made: Mapping[str, Any],
    *,
    config: Mapping[str, Any] = MappingProxyType({}),
    readme: str | None = None,
) -> None:
    """Write `files` (of `encoded`), a config.json with the keys of `config`, and a README.md unless a person wrote one.

    All files are written beside the old files and then renamed into place. The file that identifies the network is
    renamed last.
    """
    folder = path_to_write(folder)
    make_folder(folder)
    about = {
        "architecture": spec.name,
        "library_name": "zoo",
        "spec": spec.to_json(),
        "facts": {"labels": list(labels)},
        "made": dict(made),
        **config,
    }
    text = {}
    if written_by_hand(folder / README):
        warnings.warn(
            f"{folder / README} was written or edited by hand, so it stays as it is. Delete it for a new one.",
            UserWarning,
            stacklevel=3,
        )
    else:
        text[README] = sealed(card(spec, labels, made) if readme is None else readme)
    text[CONFIG] = json.dumps(about, indent=2)  # written just before the weights: other libraries read both
    last = {name: parts for name, parts in files.items() if name in (WEIGHTS, INDEX)}
    first = {name: parts for name, parts in files.items() if name not in last}
    old = _weights_in(folder)
    _put(folder, {**first, **{name: (content.encode(),) for name, content in text.items()}, **last})
    for name in old - set(files):  # files of an earlier save
        with suppress(OSError):
            (folder / name).unlink(missing_ok=True)


def sealed(text: str) -> str:
    """`text` with a last line that `written_by_hand` recognises."""
    return f"{text}\n<!-- Written by zoo; sha256 {_digest(text)} -->\n"


def written_by_hand(readme: Path) -> bool:
    """Whether there is a README that differs from every text that `sealed` made."""
    try:
        if not readme.is_file():
            return os.path.lexists(readme)
        with readme.open("rb") as file:
            text = file.read(MAX_README).decode()
    except (OSError, ValueError):
        return True
    body, _, end = text.rstrip("\n").rpartition("\n")
    found = _SEAL.fullmatch(f"{end}\n")
    return not (text == "" or (found and found[1] == _digest(body)))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _weights_in(folder: Path) -> set[str]:
    """The weight files and the index of an earlier save."""
    try:
        return {entry.name for entry in folder.iterdir() if OURS.fullmatch(entry.name) or entry.name == INDEX}
    except OSError as error:
        raise FileError(f"{folder}: cannot be read: {error.strerror}.") from None


def _put(folder: Path, files: Mapping[str, Iterable[Any]]) -> None:
    """Rename all files into place, in order; if one fails, remove the files that were not there before."""
    added: list[Path] = []
    replaced: list[str] = []
    name = ""
    with ExitStack() as temporary:
        try:
            ready = {}
            for name, parts in files.items():
                ready[name] = temporary.enter_context(unfinished(folder / name))
                write_parts(ready[name], parts)
            for name, part in ready.items():
                there = os.path.lexists(folder / name)
                os.replace(part, folder / name)
                if there:
                    replaced.append(name)
                else:
                    added.append(folder / name)
        except OSError as error:
            for path in added:
                with suppress(OSError):
                    path.unlink(missing_ok=True)
            state = f"{', '.join(replaced)} there is new, the rest is not: save again" if replaced else ""
            reason = error.strerror or str(error)
            raise FileError(
                f"{folder / name}: cannot be written: {reason}; {state or 'what was there is untouched'}."
            ) from error
