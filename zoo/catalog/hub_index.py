"""The networks that are published on the Hugging Face Hub: hub.toml, read without torch or network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType

PATH = Path(__file__).with_name("hub.toml")


@dataclass(frozen=True)
class Published:
    """One network on the Hub. `revision` (a commit) and `sha256` (of the weight file) are empty if they are not pinned.

    `arch` is the architecture if it differs from the name's architecture, as for distilled networks. `teacher` says
    which network it was distilled from, and by whom.
    """

    name: str
    repo: str
    classes: int
    licence: str
    revision: str = ""
    sha256: str = ""
    arch: str = ""
    teacher: str = ""


def published() -> Mapping[str, Published]:
    """Name -> the network; the default weights of an architecture come first."""
    return _read(PATH)


def tags(arch: str) -> list[str]:
    """The full names of an architecture's published dense weights; the default one is first."""
    return [name for name in published() if name.partition(".")[0] == arch and "-" not in name]


@cache
def _read(path: Path) -> Mapping[str, Published]:
    import tomllib

    tables = tomllib.loads(path.read_text(encoding="utf-8"))
    return MappingProxyType({name: Published(name, **table) for name, table in tables.items()})
