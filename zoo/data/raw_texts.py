"""All texts of a split, one by one, without their targets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from zoo.data.splits import called, parts_of, which
from zoo.data.text_tables import text_table
from zoo.data.texts import text_columns, translation_columns
from zoo.files import text_of


def raw_texts(
    data: str | Path,
    files: tuple[str, ...],
    columns: Sequence[str] = (),
    split: str = "train",
    *,
    translations: bool = False,
) -> list[str]:
    """The texts, and both of a pair, in the tables, text files or data set of the Hub that a network learns from.

    `files` is what the names of files end in; with `translations` the columns are those of texts and translations.
    """
    parts = parts_of(data, files)
    name = which(split, parts, data)
    choose = _of_translations if translations else text_columns
    return [text for text in _texts(parts[name], called(data, name, parts[name]), columns, choose) if text]


def _of_translations(columns: Sequence[str], given: Sequence[str], where: str) -> tuple[str, ...]:
    return tuple(given) or translation_columns(columns, where)


def _texts(part: Any, where: str, columns: Sequence[str], choose: Callable[..., Any]) -> Iterator[str | None]:
    if isinstance(part, Path):
        raise ValueError(f"{part} holds folders of pictures, and no texts.")
    if not isinstance(part, list):
        for name in choose(list(part.features), columns, where):
            yield from part[name]
    elif part[0].suffix.lower() == ".txt":
        for file in part:
            yield text_of(file, "a text to learn from")
    else:
        table = text_table(part, where)
        named = choose(table.columns, columns, where)
        for batch in table.cells(named):
            for name in named:
                yield from batch.column(name).to_pylist()
