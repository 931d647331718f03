"""Match the class names of the data to the class numbers of a network."""

from __future__ import annotations

import unicodedata
import warnings
from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from zoo.data.folders import natural
from zoo.naming import did_you_mean

SYNSETS = Path(__file__).parent / "imagenet_synsets.txt"


class ClassError(ValueError):
    """The network lacks a class of the data, or two classes of the data are one class of the network."""


def match(names: Sequence[str], known: Sequence[str], where: str) -> list[int]:
    """The number in `known` of each of `names`.

    First the exact name is searched. Then case, `-`, `_` and spaces are ignored, if only one class matches. Classes of
    ImageNet-1k may have their ids as names (n01440764, ...). Raises ClassError for a name that matches no class or
    several classes, and for two names of one class.
    """
    ids = synsets().keys() & set(names) if _is_imagenet(known) else set()
    exact, plain = _numbers([_composed(name) for name in known]), _numbers([_plain(name) for name in known])
    found = []
    for name in names:
        numbers = [synsets()[name]] if name in ids else exact.get(_composed(name)) or plain.get(_plain(name))
        if numbers is None and ids:
            raise ClassError(
                f"{where} has ids of ImageNet-1k's classes ({some(sorted(ids), 3)}), and the class {name!r} beside "
                "them, which is neither an id nor a name of such a class. Rename it, or move it elsewhere."
            )
        if numbers is None:
            raise ClassError(
                f"{where} has the class {name!r}, which is not known{did_you_mean(_plain(name), plain)} "
                f"The classes are {some(known)}."
            )
        if len(numbers) > 1:
            those = ", ".join(f"{number} ({known[number]!r})" for number in numbers)
            raise ClassError(f"{where} has the class {name!r}, and several classes are called so: {those}.")
        found.append(numbers[0])
    if twice := [number for number, times in Counter(found).items() if times > 1]:
        those = " and ".join(repr(name) for name, number in zip(names, found, strict=True) if number == twice[0])
        raise ClassError(f"{where} has the classes {those}, and both would be {known[twice[0]]!r}. Rename one.")
    return found


def in_order(names: Sequence[str], count: int, where: str) -> list[int]:
    """The numbers of `names`, in natural order, for a network that has `count` classes without names.

    Raises ClassError if there are not `count` names. timm trains in natural order, torchvision in alphabetical order.
    If the two orders differ, a warning says that the natural order is used.
    """
    if count == len(synsets()) and set(names) <= synsets().keys():
        return [synsets()[name] for name in names]
    if len(names) != count:
        raise ClassError(
            f"The network has no names for its {count} classes, so {where} needs a folder with pictures for each of "
            f"them, not {len(names)}. Set model.labels to the names of the folders to match them by name."
        )
    ordered = sorted(names, key=natural)
    if ordered != sorted(names):
        warnings.warn(
            f"The network has no names for its classes: the folders are counted in natural order ({some(ordered, 3)}), "
            f"as timm counts them. torchvision counts in the order of the alphabet ({some(sorted(names), 3)}): for a "
            "network that was trained so, set model.labels = sorted(names).",
            stacklevel=2,
        )
    place = {name: number for number, name in enumerate(ordered)}
    return [place[name] for name in names]


@cache
def synsets() -> dict[str, int]:
    """The ids of ImageNet-1k's classes, and the number of each."""
    return {name: number for number, name in enumerate(SYNSETS.read_text().split())}


def _is_imagenet(labels: Sequence[str]) -> bool:
    """Whether labels are the labels of ImageNet-1k, in any spelling."""
    return len(labels) == 1000 and labels[0].startswith("tench") and labels[1].startswith("goldfish")


def some(names: Sequence[str], most: int = 20) -> str:
    """The first few names, separated by commas."""
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")


def _numbers(names: Sequence[str]) -> dict[str, list[int]]:
    numbers: dict[str, list[int]] = {}
    for number, name in enumerate(names):
        numbers.setdefault(name, []).append(number)
    return numbers


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _plain(name: str) -> str:
    return " ".join(_composed(name).casefold().replace("_", " ").replace("-", " ").split())
