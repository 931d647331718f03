"""Options as data: a frozen dataclass, whose fields have a type, a default, a line of help, bounds and an example.

Python, the shell and the documentation read the same fields. No torch.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from types import NoneType, UnionType
from typing import Any, ClassVar, Literal, Self, Union, get_args, get_origin, get_type_hints

from zoo.checks import MOST

_KEY = "option"


@dataclass(frozen=True)
class About:
    """What is known of an option beside its name, type and default."""

    help: str = ""
    above: float | None = None
    least: float | None = None
    below: float | None = None
    most: float | None = None
    needs: str = ""
    example: str = ""

    def allows(self, value: float) -> bool:
        return (
            math.isfinite(value)
            and (self.above is None or value > self.above)
            and (self.least is None or value >= self.least)
            and (self.below is None or value < self.below)
            and (self.most is None or value <= self.most)
        )

    def bounds(self) -> str:
        """The bounds as the end of a phrase: " between 0 and 1", ", 1 or more"."""
        if self.above is not None and self.below is not None:
            return f" between {self.above:g} and {self.below:g}"
        low = f" above {self.above:g}" if self.above is not None else ""
        low = low or (f" from {self.least:g}" if self.least is not None else "")
        high = f" below {self.below:g}" if self.below is not None else ""
        high = high or (f" at most {self.most:g}" if self.most is not None else "")
        if not high and self.least is not None:
            return f", {self.least:g} or more"
        if high and self.least is not None:
            return f"{low} to {high.removeprefix(' at most').strip()}"
        return f"{low} and{high}" if low and high else low + high


def option(
    default: Any = MISSING,
    help: str = "",  # noqa: A002
    *,
    above: float | None = None,
    least: float | None = None,
    below: float | None = None,
    most: float | None = None,
    needs: str = "",
    example: str = "",
) -> Any:
    """A field of `Options`: its default (none: it must be given), one line of help, bounds of its numbers.

    `above` and `below` are outside of what is allowed, `least` and `most` inside. `needs`: the input of
    `zoo.compress` that it is of no use without. `example` is a call that uses it.
    """
    return field(default=default, metadata={_KEY: About(help, above, least, below, most, needs, example)})


def about(one: Field[Any]) -> About:
    """What `option` has said of a dataclass's field."""
    return one.metadata.get(_KEY, About())


@dataclass(frozen=True, kw_only=True)
class Options:
    """Checks every field when it is made. A list of names becomes a tuple.

    Raises ValueError that names the option, what it takes, and what was given.
    """

    given: ClassVar[tuple[str, ...]] = ()  # names that were given by `of`, their defaults too

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self))
        for one in fields(self):
            value = _checked(one.name, getattr(self, one.name), hints[one.name], about(one))
            object.__setattr__(self, one.name, value)

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Self:
        """The options with these values, which remember which were given."""
        made = cls(**given)
        object.__setattr__(made, "given", tuple(given))
        return made

    @classmethod
    def names(cls) -> tuple[str, ...]:
        return tuple(one.name for one in fields(cls) if one.init)

    def uses(self, taken: str) -> bool:
        """Whether these options make use of the input `taken`, one of those that the pass takes."""
        return True

    def part(self, of: type[Options]) -> dict[str, Any]:
        """The values of those fields that come from `of`, a class that this one inherits from."""
        return {name: getattr(self, name) for name in of.names()}


def described(of: type[Options]) -> list[str]:
    """A line for each option: name, type, default, help; and one for its example."""
    lines, hints = [], get_type_hints(of)
    for one in fields(of):
        found = about(one)
        takes = _wanted(hints[one.name], found)
        lines.append(f"{one.name} ({takes}; default {one.default!r}): {found.help}")
        if found.example:
            lines += [f"    >>> made = {found.example}", ""]
    return lines


def alternatives(hint: Any) -> tuple[Any, ...]:
    """The types that a hint allows, None among them."""
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


def _checked(name: str, value: Any, hint: Any, found: About) -> Any:
    for one in alternatives(hint):
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if one is int or one is float:
            if number and (one is float or isinstance(value, int)) and not _is_huge(value) and found.allows(value):
                return value
        elif get_origin(one) is Literal:
            if isinstance(value, str) and value in get_args(one):
                return value
        elif get_origin(one) is tuple:
            if isinstance(value, (tuple, list, set, frozenset)) and all(isinstance(text, str) for text in value):
                return tuple(value)
        elif isinstance(value, one):
            return value
    most = f", up to {MOST:,}" if _is_huge(value) and found.most is None and found.below is None else ""
    raise ValueError(f"{name}= takes {_wanted(hint, found)}{most}, not {reprlib.repr(value)}.")


def _is_huge(value: Any) -> bool:
    """Whether a whole number is larger than torch takes, and too large to be a float perhaps."""
    return isinstance(value, int) and abs(value) > MOST


def _wanted(hint: Any, found: About) -> str:
    """The allowed values in words: "a number between 0 and 1", "one of 'mse', 'minmax'"."""
    words = []
    for one in alternatives(hint):
        if one is int or one is float:
            words.append(("a whole number" if one is int else "a number") + found.bounds())
        elif get_origin(one) is Literal:
            words.append(f"one of {', '.join(map(repr, get_args(one)))}")
        elif get_origin(one) is tuple:
            words.append("names")
        elif one is bool:
            words.append("True or False")
        elif one is not NoneType:
            words.append(f"a {getattr(one, '__name__', one)}")
    return ", or ".join(words)


def listed(names: list[str]) -> str:
    """ "a= is an option", "a= and b= are options"."""
    said = " and ".join(f"{name}=" for name in names)
    return f"{said} is an option" if len(names) == 1 else f"{said} are options"


def unknown(name: str, passes: str, every: set[str], taken: set[str]) -> str:
    """What to say of a keyword that no pass has; `taken` are those of `passes`."""
    import difflib

    near = difflib.get_close_matches(name, sorted(every), n=1)
    guess = f". Did you mean {near[0]}=?" if near else "."
    return f"{name}= is no option of a pass{guess} {passes} takes {', '.join(sorted(taken)) or 'none'}."
