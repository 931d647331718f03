"""A table of any library as a mapping from its columns' names to the columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any


def as_table(given: Any, wanted: Sequence[str], name: str, first: int = 0) -> Mapping[str, Any]:
    """The columns called `wanted` of a data frame, an Arrow table, or rows in a list; those that there are.

    Raises ValueError for anything else, for two columns of one name, and for rows without a value for a column; `name`
    is the network's, and `first` the number of the first row in a list.
    """
    if isinstance(given, (list, tuple)):
        return _of_rows(given, wanted, name, first)
    if isinstance(given, Mapping):
        return given
    library = type(given).__module__.partition(".")[0]
    if library == "pandas" and hasattr(given, "columns"):
        names = list(given.columns)
    elif library == "pyarrow" and hasattr(given, "schema"):
        names = list(given.schema.names)
    elif hasattr(given, "__arrow_c_stream__") and hasattr(given, "columns"):
        return as_table(_arrow(given), wanted, name)
    else:
        raise ValueError(
            f"{name} takes a dict of values or of columns, a list of dicts, or a table of pandas or pyarrow, not "
            f"{type(given).__name__}."
        )
    twice = [one for one, times in Counter(names).items() if times > 1 and one in wanted]
    if twice:
        raise ValueError(f"The table has two columns called {twice[0]!r}.")
    there = set(names)
    found = {one: (given[one] if library == "pandas" else given.column(one)) for one in wanted if one in there}
    return {**dict.fromkeys(map(str, names)), **found}  # all names, for messages


def _of_rows(rows: Sequence[Any], wanted: Sequence[str], name: str, first: int) -> dict[str, list[Any]]:
    if not rows:
        raise ValueError(f"The table has no rows: {name} takes at least one.")
    for place, row in enumerate(rows, first):
        if not isinstance(row, Mapping):
            raise ValueError(f"Rows in a list are dicts, and row {place} is a {type(row).__name__}.")
    try:
        return {one: [row[one] for row in rows] for one in wanted}
    except KeyError as error:
        (one,) = error.args
        place, row = next((place, row) for place, row in enumerate(rows, first) if one not in row)
        there = ", ".join(map(repr, list(row)[:20]))
        raise ValueError(f"{name} reads the column {one!r}, and row {place} has no such value: {there}.") from None


def _arrow(given: Any) -> Any:
    try:
        import pyarrow as pa
    except ImportError:
        raise ValueError("Reading such a table needs pyarrow: pip install 'zoo-efficient[tables]'.") from None
    return pa.table(given)
