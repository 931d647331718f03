"""Texts without their labels, of whatever holds texts: text files, one text a line, and tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from zoo.data.text_tables import TEXT_TABLES, text_table
from zoo.data.unlabelled import MOST
from zoo.files import lines_of, local_path


def texts_at(
    paths: Sequence[Path], of_table: Callable[[Any], Iterable[Any]], most: int = MOST
) -> tuple[list[Any], int]:
    """(the texts of files and tables, how many there are); of a table it is `most` at even distances.

    `of_table` gives the examples of a table, None for a row without one. Raises ValueError where there is no text.
    """
    found: list[Any] = []
    total = 0
    for path in map(local_path, paths):
        if path.suffix.lower() in TEXT_TABLES:
            table = text_table([path], str(path))
            step = max(1.0, len(table) / most)
            wanted = {int(place * step) for place in range(min(len(table), most))}
            texts = [text for place, text in enumerate(of_table(table)) if place in wanted and text is not None]
            total += len(table)
        else:
            texts = lines_of(path, f"texts come from text files, one a line, and from tables {', '.join(TEXT_TABLES)}")
            total += len(texts)
        found += texts
    if not found:
        raise ValueError(f"{', '.join(map(str, paths))}: there is no line of text.")
    return found, total
