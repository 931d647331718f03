"""What is published on the Hugging Face Hub under names that we know: hub.toml, read without torch or network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType

PATH = Path(__file__).with_name("hub.toml")


@dataclass(frozen=True)
class Published:
    """One network on the Hub. `revision`, a commit, and `sha256`, its weight file's, are empty where not pinned.

    `arch` is the network's own architecture where that is another than the name's: a distilled one's. `teacher` is what
    it was distilled from, and by whom.
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
    """By name, an architecture's default weights first."""
    return _read(PATH)


def tags(arch: str) -> list[str]:
    """The names of an architecture's published dense weights, the default one first."""
    return [name for name in published() if name.partition(".")[0] == arch and "-" not in name]


@cache
def _read(path: Path) -> Mapping[str, Published]:
    import tomllib

    tables = tomllib.loads(path.read_text(encoding="utf-8"))
    return MappingProxyType({name: Published(name, **table) for name, table in tables.items()})
