"""Infer a recommender's schema from a table, and find the values that it knows."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zoo.checks import check_whole
from zoo.data.table_files import TableFiles, open_tables
from zoo.inputs.feature import KNOWN, MAX_NAME, Feature
from zoo.inputs.table import MAX_FEATURES, TableInput
from zoo.tabular import columns
from zoo.tabular.counting import KeyCounts, Numbers
from zoo.tabular.frames import as_table
from zoo.tabular.keys import Unfit
from zoo.tabular.misfits import located
from zoo.tabular.reader import csv_types

USUAL_LABELS = ("label", "click", "clicked", "target")
MAX_KNOWN = 1_000_000  # values of a feature; one with more is hashed to as many rows
FEW = 32  # whole numbers of no more different values are categories
MAX_LENGTH = 50  # values of a list that count
FAR = 10.0  # deviations from the mean, beyond which a feature is bucketed
BUCKETS = 10
UNUSED = 2**63 - 1  # a key that pads a vocabulary behind the last known value

_IDS = re.compile(
    r"(.*[^a-z])?(ids?|key|code|zip|hash|user|item|movie|product|customer|query|session|device|category)", re.IGNORECASE
)

Report = Callable[[int], object]  # told of how many more rows have been read


def infer_schema(
    data: Any, label: str | None = None, *, min_count: int = 2, progress: Report = lambda rows: None
) -> TableInput:
    """Read a table once and say what a recommender would read of it, for `zoo.create("deepfm", schema=...)`.

    Texts and ids are categorical, and a list of such values is a list. A number is standardised; it is bucketed by
    deciles where some values lie ten deviations from the mean. Whole numbers are categorical where the column's name is
    that of an id, or where they have at most 32 different values. A feature with more than a million known values is
    hashed. A warning names each column that is left out: dates, bytes, columns of one value, and those of which most
    values occur once.

    Args:
        data (Any): a Parquet or CSV file of any size, a glob, a folder of Parquet files; a `pandas.DataFrame`, a
            `pyarrow.Table` or a dict of columns.
        label (str | None): the column that is to be predicted, which is no feature. Default: None, "label", "click",
            "clicked" or "target".
        min_count (int): how often a value must occur to be known; rarer ones teach the network what to make of unknown
            ones. Default: 2.
        progress (Report): called with the number of rows of each batch that was read. Default: does nothing.

    Returns:
        A `TableInput`; its `to_json()` can be edited, and `TableInput.from_json` reads it again.

    Raises:
        ValueError: the table cannot be read, has no such label, no column that could be a feature, or more than 4,096
            columns.

    Example:
        >>> given = zoo.infer_schema({"user_id": [1, 1, 2, 2], "age": [20.5, 30, 40, 60], "click": [0, 1, 0, 1]})
        >>> [(one.name, one.kind, one.rows) for one in given.features]
        [('user_id', 'categorical', 4), ('age', 'numeric', 2)]
    """
    check_whole("min_count", min_count, 1)
    source = _Source(data)
    label = _label(source, label)
    names = [name for name in source.names if name != label]
    if len(names) > MAX_FEATURES:
        raise ValueError(
            f"{source.where} has {len(names):,} columns beside {label!r}, and a schema has at most {MAX_FEATURES:,} "
            "features. Write a table of the columns that count."
        )
    if not names:
        raise ValueError(f"{source.where} has no column beside {label!r}, so there is no feature.")
    source.check_lengths([*names, label])
    found = {name: _Column(name) for name in names}
    rows = 0
    for table in source.tables(names):
        for name, column in found.items():
            column.add(table[name])
        rows += len(table[names[0]])
        progress(len(table[names[0]]))
    if not rows:
        raise ValueError(f"{source.where} has no rows.")
    features = [feature for column in found.values() if (feature := column.feature(rows, min_count)) is not None]
    for column in found.values():
        if column.left_out:
            warnings.warn(f"Column {column.name!r} is left out: {column.left_out}.", stacklevel=2)
    if not features:
        raise ValueError(f"{source.where} has no column beside {label!r} that could be a feature.")
    return TableInput(tuple(features))


def fit_vocabulary(given: TableInput, data: Any, *, progress: Report = lambda rows: None) -> Tensor:
    """Find the values that a recommender knows: of each feature the most frequent ones, as many as its table has rows.

    Args:
        given (TableInput): the schema, inferred or edited.
        data (Any): the table to train on, as `infer_schema` takes it.
        progress (Report): called with the number of rows of each batch that was read. Default: does nothing.

    Returns:
        The sorted keys of each feature, int64 (known values,); `model.fit_vocabulary(data)` copies them to a network.

    Raises:
        ValueError: the table cannot be read, or lacks a column.
    """
    names = [one.name for one in given.features if one.keys]
    counts = {name: KeyCounts() for name in names}
    source, rows = _Source(data, given), 0
    source.check_lengths(names)
    for table in source.tables(names) if names else ():
        for name in names:
            _count(counts[name], table[name], name, given.feature(name).kind == "list", rows)
        rows += len(table[names[0]])
        progress(len(table[names[0]]))
    if names and not rows:
        raise ValueError(f"{source.where} has no rows.")
    parts = []
    for name in names:
        size = given.feature(name).keys
        known = counts[name].most_frequent(size)
        parts.append(np.concatenate([known, np.full(size - len(known), UNUSED)]))
    return torch.from_numpy(np.concatenate([np.zeros(0, np.int64), *parts]).astype(np.int64))


class _Source:
    """A table in files or in memory, read as mappings from names to columns."""

    def __init__(self, data: Any, given: TableInput | None = None) -> None:
        self._files: TableFiles | None = None
        self._table: Any = None
        if isinstance(data, (str, Path, TableFiles)):
            self._files = data if isinstance(data, TableFiles) else open_tables(data)
            self.names, self.where = self._files.columns, self._files.where
            self._as_text = given is None and not self._files.parquet
            if not self._files.parquet:
                self._files.types = csv_types(given) if given else dict.fromkeys(self.names, _text_type())
        else:
            self._table, self.where = as_table(data, _names(data), "A schema"), "The table"
            self.names = list(self._table)

    def check_lengths(self, names: Sequence[str]) -> None:
        """Raise ValueError where columns in memory differ in length; those of files cannot."""
        if self._files is not None:
            return
        lengths = {name: len(self._table[name]) for name in names if columns.many(self._table.get(name))}
        for name, length in lengths.items():
            if length != (first := next(iter(lengths.values()))):
                raise ValueError(
                    f"{self.where} has {first:,} values of {next(iter(lengths))!r} and {length:,} of {name!r}: columns "
                    "have one length."
                )

    def tables(self, names: Sequence[str]) -> Iterator[Any]:
        if self._files is None:
            lacking = [name for name in names if name not in self._table]
            if lacking:
                raise ValueError(f"{self.where} has no column {lacking[0]!r}; it has {self.names[:20]}.")
            for name in names:
                if not columns.many(self._table[name]):
                    raise ValueError(f"{self.where} has a single value as {name!r}; a schema is inferred from columns.")
            yield self._table
            return
        for batch in self._files.batches(names):
            parts = {name: batch.column(name) for name in names}
            yield {name: _parsed(part) for name, part in parts.items()} if self._as_text else parts


def _text_type() -> Any:
    import pyarrow as pa

    return pa.string()


def _parsed(column: Any) -> Any:
    """A column of CSV's texts as numbers where all are some; no type is guessed from the first values alone."""
    import pyarrow as pa
    import pyarrow.compute as pc

    there = pc.if_else(pc.equal(column, ""), None, column)
    for kind in (pa.int64(), pa.uint64(), pa.float64()):
        if kind == pa.float64() and pc.any(pc.match_substring_regex(there, r"^-?[0-9]{19,}$")).as_py():
            break  # ids beyond 64 bits stay texts: floats would make one of several
        try:
            return pc.cast(there, kind)
        except pa.ArrowInvalid:
            continue
    return column


def _names(data: Any) -> list[str]:
    names = getattr(data, "column_names", None) or getattr(data, "columns", None)
    if names is None:
        names = list(data[0] if isinstance(data, (list, tuple)) and data else data) if hasattr(data, "__len__") else []
    return [name for name in names if isinstance(name, str)]


def _label(source: _Source, label: str | None) -> str:
    usual = [name for name in USUAL_LABELS if name in source.names]
    if label is None and not usual:
        told = ", ".join(map(repr, USUAL_LABELS))
        raise ValueError(f"{source.where} has no column {told}: name the one to predict by label=.")
    if label is not None and label not in source.names:
        shown = ", ".join(map(repr, source.names[:20])) + (", ..." if len(source.names) > 20 else "")
        raise ValueError(f"{source.where} has no column {label!r} to predict; its columns are {shown}.")
    return usual[0] if label is None else label


class _Column:
    """What has been seen of one column: as values, as lists of values, as numbers."""

    def __init__(self, name: str) -> None:
        self.name, self.left_out = name, ""
        self._counts: KeyCounts | None = KeyCounts()
        self._numbers: Numbers | None = Numbers()
        self._lengths = np.zeros(0, np.int64)  # how many lists have each length
        self._lists: bool | None = None

    def add(self, column: Any) -> None:
        if self.left_out:
            return
        try:
            self._add(column)
        except Unfit as error:
            self.left_out = f"it {error}"

    def _add(self, column: Any) -> None:
        if self._is_list(column):
            self._lists, self._numbers = True, None
            found = columns.lists(column)
            counts = np.bincount(found.lengths, minlength=len(self._lengths))
            counts[: len(self._lengths)] += self._lengths
            self._lengths = counts
            if self._counts is not None:
                self._counts.add(found.values, int(found.lengths.sum()))
            return
        if self._numbers is not None:
            try:
                self._numbers.add(columns.numbers(column))
            except Unfit:
                self._numbers = None
        try:
            self._counts.add(columns.keyed(column), len(column)) if self._counts is not None else None
        except Unfit:
            if self._numbers is None:
                raise
            self._counts = None

    def _is_list(self, column: Any) -> bool:
        """The first batch says it: lists, or texts of which a tenth have a separator."""
        if self._lists is None:
            arrow = columns.as_arrow(column)
            cells = [cell for cell in (column if arrow is None else arrow.slice(0, 1000).to_pylist())[:1000] if cell]
            written = sum(isinstance(cell, str) and columns.SEPARATOR in cell for cell in cells)
            self._lists = any(map(columns.many, cells)) or written > len(cells) / 10
        return self._lists

    def feature(self, rows: int, min_count: int) -> Feature | None:
        """None where it is left out."""
        if not (self.name.isprintable() and 1 <= len(self.name) <= MAX_NAME):
            self.left_out = self.left_out or f"a name has 1 to {MAX_NAME} printable characters"
        if self.left_out:
            return None
        numbers, counts = self._numbers, self._counts
        different = MAX_KNOWN if counts is None else len(counts.keys)
        missing = counts.missing if counts is not None else 0
        if different < (1 if missing or self._lists else 2):
            self.left_out = "it has one value alone" if different else "it has no values"
            return None
        if numbers is None or (counts is not None and self._is_category(numbers, counts)):
            return self._category(rows, min_count)
        return self._number(numbers)

    def _is_category(self, numbers: Numbers, counts: KeyCounts) -> bool:
        return numbers.whole and (len(counts.keys) <= FEW or _IDS.fullmatch(self.name) is not None)

    def _category(self, rows: int, min_count: int) -> Feature | None:
        assert self._counts is not None
        once = int((self._counts.counts == 1).sum())
        if not self._lists and rows > 2 * FEW and 2 * once > rows:
            self.left_out = f"{once:,} of its values occur once, in {rows:,} rows"
            return None
        known = int((self._counts.counts >= min_count).sum())
        hashed = known > MAX_KNOWN
        size = KNOWN + (MAX_KNOWN if hashed else max(1, known))
        if not self._lists:
            return Feature(self.name, num_embeddings=size, hashed=hashed)
        longest = max(1, min(len(self._lengths) - 1, MAX_LENGTH))
        return Feature(self.name, "list", num_embeddings=size, hashed=hashed, max_length=longest)

    def _number(self, numbers: Numbers) -> Feature:
        std = numbers.std or 1.0
        if max(numbers.high - numbers.mean, numbers.mean - numbers.low) > FAR * std:
            return Feature(self.name, "bucketed", boundaries=tuple(numbers.quantiles(BUCKETS)))
        return Feature(self.name, "numeric", mean=_rounded(numbers.mean), std=_rounded(std))


def _rounded(number: float) -> float:
    """Six digits, which people can read."""
    return float(f"{number:.6g}")


def _count(counts: KeyCounts, column: Any, name: str, listed: bool, first: int) -> None:
    """`first` is the number of the column's first row, for errors."""
    try:
        if listed:
            found = columns.lists(column)
            counts.add(found.values, int(found.lengths.sum()))
        else:
            counts.add(columns.keyed(column), len(column))
    except Unfit as error:
        raise located(columns.lists if listed else columns.keyed, column, name, error, first) from None
