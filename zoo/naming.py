"""`arch[_size][.tag][-pass...]`, read and written."""

from __future__ import annotations

import re
from dataclasses import dataclass

PASSES = ("distilled", "pruned", "sparse", "int8")

_ARCH = re.compile(r"[a-z0-9]+(_[a-z0-9]+)*")
_TAG = re.compile(r"[A-Za-z0-9_]+")


class UnknownName(ValueError):
    """A name that cannot be read, or that names nothing."""


@dataclass(frozen=True)
class Name:
    """`_` belongs to the architecture, `.` picks the weights, `-` starts a pass."""

    arch: str
    tag: str = ""
    passes: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.dense + "".join(f"-{p}" for p in self.passes)

    @property
    def dense(self) -> str:
        """The name without its passes."""
        return f"{self.arch}.{self.tag}" if self.tag else self.arch

    @property
    def variant(self) -> str:
        return "-".join(self.passes) or "dense"


def parse_passes(text: str) -> tuple[str, ...]:
    """Read "pruned-int8" as ("pruned", "int8"), "dense" and "" as (); another order raises with the right one."""
    passes = tuple(p for p in text.split("-") if p != "dense") if text else ()
    for one in passes:
        if one not in PASSES:
            raise UnknownName(f"Unknown pass {one!r}{did_you_mean(one, PASSES)} The passes are {', '.join(PASSES)}.")
    ordered = tuple(p for p in PASSES if p in passes)
    if passes != ordered:
        raise UnknownName(f"Passes come once each and in one order; write {'-'.join(ordered)!r}, not {text!r}.")
    return passes


def parse(text: str, aliases: dict[str, str] | None = None) -> Name:
    """Read a name; `aliases` (family names, the Hub's own spellings) are matched before passes are split off."""
    if not isinstance(text, str):
        raise UnknownName(f"A model's name is a string, not {type(text).__name__}.")
    stem, rest = _strip_alias(text, aliases or {})
    passes = parse_passes(rest)
    arch, _, tag = stem.partition(".")
    tagged = "." in stem
    if text.endswith("-") or not _ARCH.fullmatch(arch) or (tagged and not _TAG.fullmatch(tag)):
        raise UnknownName(f"Cannot read the name {text!r}; names look like 'mobilenetv2_100.ra_in1k-pruned-int8'.")
    return Name(arch, tag, passes)


def did_you_mean(text: str, known: object) -> str:
    """The end of a sentence: ". Did you mean 'x'?" where something known is near, else "."."""
    import difflib

    near = difflib.get_close_matches(text, list(known), n=3, cutoff=0.6)  # type: ignore[call-overload]
    return ". Did you mean " + " or ".join(repr(n) for n in near) + "?" if near else "."


def _strip_alias(text: str, aliases: dict[str, str]) -> tuple[str, str]:
    for alias in sorted(aliases, key=len, reverse=True):
        if text == alias or text.startswith(alias + "-"):
            return aliases[alias], text[len(alias) + 1 :]
    stem, _, rest = text.partition("-")
    return stem, rest
