"""Which row of a column has the value that its feature does not take. Looked for once something was refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from zoo.tabular.keys import Unfit


def named(name: str, error: Unfit, row: int | None = None) -> ValueError:
    """The error for users: the column, and where it is known the row."""
    return ValueError(f"Column {name!r} {'' if row is None else f'in row {row} '}{error}.")


def located(read: Callable[[Any], object], column: Any, name: str, error: Unfit, first: int = 0) -> ValueError:
    """The error, with the row: the first one that `read` refuses, by halves. `first` is the number of row 0.

    A column that is refused without any row is of a wrong type as a whole, and no row is named.
    """
    good, bad = 0, len(column)  # rows from the start that are taken, and that are not
    if _refusal(read, cut(column, slice(0, 0))) is not None:
        return named(name, error)
    while bad - good > 1:
        middle = (good + bad) // 2
        if _refusal(read, cut(column, slice(0, middle))) is None:
            good = middle
        else:
            bad = middle
    return named(name, _refusal(read, cut(column, slice(0, bad))) or error, first + good)


def cut(column: Any, part: slice) -> Any:
    """Some rows of a column of any library."""
    if hasattr(column, "iloc"):
        return column.iloc[part]
    return column[part] if hasattr(column, "tolist") or hasattr(column, "slice") else list(column)[part]


def _refusal(read: Callable[[Any], object], column: Any) -> Unfit | None:
    try:
        read(column)
    except Unfit as error:
        return error
    return None
