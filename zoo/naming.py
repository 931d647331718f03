"""`arch[_size][.tag][-pass...]`, read and written."""

from __future__ import annotations

import re
from dataclasses import dataclass

from zoo.passes import in_order
from zoo.printable import PrintableError

HOLDING = ("int8", "w8", "w4")  # passes that say how weights are held: a name has one of them at most

_ARCH = re.compile(r"[a-z0-9]+(_[a-z0-9]+)*")
_TAG = re.compile(r"[A-Za-z0-9_]+")


class UnknownName(PrintableError):
    """A name that cannot be read, or that stands for no network.

    Args:
        message (str): what is wrong, and which names are near.

    Example:
        >>> zoo.create("resnett20")
        Traceback (most recent call last):
            ...
        UnknownName: Unknown model 'resnett20'. Did you mean 'resnet20' ...
    """


@dataclass(frozen=True)
class Name:
    """A network's name in its parts: `arch[.tag][-pass...]`.

    Args:
        arch (str): the architecture and its size, "resnet20".
        tag (str): which weights, "cifar10". Default: "".
        passes (tuple[str, ...]): of "distilled", "pruned", "sparse", and one of "int8", "w8" and "w4", in this order.
            Default: none.

    Example:
        >>> str(zoo.Name("resnet20", "cifar10", ("pruned", "int8")))
        'resnet20.cifar10-pruned-int8'
    """

    arch: str
    tag: str = ""
    passes: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.dense + "".join(f"-{p}" for p in self.passes)

    @property
    def dense(self) -> str:
        """The name without its passes.

        Example:
            >>> zoo.parse_name("resnet20.cifar10-int8").dense
            'resnet20.cifar10'
        """
        return f"{self.arch}.{self.tag}" if self.tag else self.arch

    @property
    def variant(self) -> str:
        """The passes as the name writes them, or "dense".

        Example:
            >>> zoo.parse_name("resnet20.cifar10-pruned-int8").variant
            'pruned-int8'
        """
        return "-".join(self.passes) or "dense"


def parse_passes(text: str) -> tuple[str, ...]:
    """Read "pruned-int8" as ("pruned", "int8"), "dense" and "" as (); another order raises with the right one."""
    passes, known = tuple(p for p in text.split("-") if p != "dense") if text else (), [one.name for one in in_order()]
    for one in passes:
        if one not in known:
            raise UnknownName(f"Unknown pass {one!r}{did_you_mean(one, known)} The passes are {', '.join(known)}.")
    if len(held := [one for one in HOLDING if one in passes]) > 1:
        raise UnknownName(f"{held[0]!r} and {held[1]!r} both say how weights are held: name one of them, not {text!r}.")
    ordered = tuple(p for p in known if p in passes)
    if passes != ordered:
        raise UnknownName(f"Passes come once each and in one order; write {'-'.join(ordered)!r}, not {text!r}.")
    return passes


def parse(text: str, aliases: dict[str, str] | None = None) -> Name:
    """Read a name; `str()` of the result writes it again. Whether there is such a network is not checked.

    Args:
        text (str): the name, "arch[.tag][-pass...]".
        aliases (dict[str, str] | None): other spellings and what they stand for, matched before the passes are split
            off: family names, and the Hub's own names. Default: None.

    Returns:
        A `Name`.

    Raises:
        UnknownName: the text is no name, or its passes are unknown or in another order.

    Example:
        >>> zoo.parse_name("resnet20.cifar10-pruned-int8")
        Name(arch='resnet20', tag='cifar10', passes=('pruned', 'int8'))
    """
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
