"""What a regular expression of a tokenizer can do to a text, read off the expression: Oniguruma's syntax."""

from __future__ import annotations

import re
from typing import NamedTuple

_MANY = 16  # a count above it is as good as none
_COUNT = re.compile(r"[?*+]|\{(\d*)(,?)(\d*)\}")
_PROPERTY = re.compile(r"\{[^}]*\}|<[^>]*>|'[^']*'")  # behind \p, \x, \k or \g
_LOOK = re.compile(r"\?(<?[=!])")
_FLAGS = re.compile(r"\?[a-z-]*\)")
_NAME = re.compile(r"\?(?:[a-z-]*:|>|<[^>]*>|'[^']*'|~)?")
_MAY_BE_EMPTY = "bBAzZGyYkg0123456789"  # behind a backslash: places between characters, and groups that are repeated


class Pattern(NamedTuple):
    """`empty`: it may match no character. `runaway`: it repeats what itself repeats, which may take forever."""

    empty: bool
    runaway: bool


class _Group:
    """A group that is open: what its alternatives so far, the present one, and its last part may match."""

    def __init__(self, *, looks: bool = False, atomic: bool = False) -> None:
        self.looks, self.atomic = looks, atomic
        self.empty_before, self.empty = False, True
        self.last: tuple[bool, bool] | None = None  # may be empty, and repeats without bound
        self.repeats = False

    def close_part(self) -> None:
        if self.last is not None:
            self.empty &= self.last[0]
            self.repeats |= self.last[1]
        self.last = None

    def close_alternative(self) -> None:
        self.close_part()
        self.empty_before |= self.empty
        self.empty = True

    def close(self) -> tuple[bool, bool]:
        self.close_alternative()
        return self.empty_before or self.looks, self.repeats and not self.atomic


def read_pattern(text: str) -> Pattern:
    """What an expression does. In doubt it may be empty and is no runaway."""
    groups, runaway, place = [_Group()], False, 0
    while place < len(text):
        group, sign = groups[-1], text[place]
        count = _COUNT.match(text, place) if group.last is not None else None
        if count and (count[0] in "?*+" or count[1] or count[3]):
            least, most = _bounds(count)
            place = count.end()
            empty, repeats = group.last or (False, False)
            runaway |= repeats and most > _MANY
            keeps = text[place : place + 1] == "+" and count[0] in "?*+"  # possessive: it gives nothing back
            place += keeps or text[place : place + 1] == "?"
            group.last = (empty or least == 0, (repeats or most > _MANY) and not keeps)
            continue
        group.close_part()
        place += 1
        if sign == "(":
            place = _open(text, place, groups)
        elif sign == ")" and len(groups) > 1:
            found = groups.pop().close()
            groups[-1].last = found
        elif sign == "|":
            group.close_alternative()
        elif sign == "[":
            place, group.last = _behind_class(text, place), (False, False)
        elif sign == "\\":
            group.last = (text[place : place + 1] in _MAY_BE_EMPTY, False)
            named = _PROPERTY.match(text, place + 1) if text[place : place + 1] in "pPxkg" else None
            place = named.end() if named else place + 1
        else:
            group.last = (sign in "^$", False)
    while len(groups) > 1:
        found = groups.pop().close()
        groups[-1].last = found
    return Pattern(groups[0].close()[0] or r"\K" in text, runaway)


def _bounds(count: re.Match[str]) -> tuple[int, int]:
    if count[0] in "?*+":
        return (int(count[0] == "+"), 1 if count[0] == "?" else _MANY + 1)
    least = int(count[1][:6] or 0)
    return least, int(count[3][:6]) if count[3] else (_MANY + 1 if count[2] else least)


def _open(text: str, place: int, groups: list[_Group]) -> int:
    """Behind what a group begins with."""
    if text.startswith("?#", place):
        end = text.find(")", place)
        return len(text) if end < 0 else end + 1
    if flags := _FLAGS.match(text, place):
        return flags.end()
    if look := _LOOK.match(text, place):
        groups.append(_Group(looks=True))
        return look.end()
    name = _NAME.match(text, place)
    groups.append(_Group(atomic=text.startswith("?>", place)))
    return name.end() if name else place


def _behind_class(text: str, place: int) -> int:
    """Behind a class of characters, which may hold other classes."""
    depth, first = 1, True
    while place < len(text) and depth:
        sign = text[place]
        if sign == "\\":
            place += 1
        elif sign == "[":
            depth += 1
        elif sign == "]" and not first:
            depth -= 1
        first = sign == "[" or (first and sign == "^")
        place += 1
    return place
