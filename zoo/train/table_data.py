"""Rows of tables for training: prepared in memory, or streamed from Parquet of any size.

Shapes: N rows in all, B in a batch, C columns of the network's input.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zoo.data.parquet import choose_column
from zoo.data.splits import called
from zoo.data.table_files import TableFiles
from zoo.inputs import TableInput
from zoo.spec import Block, ModelSpec
from zoo.tabular.encoder import TableEncoder
from zoo.tabular.reader import training_files
from zoo.tasks.binary import USUAL, numbers, shares

CACHE_BYTES = 1_000_000_000  # prepared rows that are kept in memory
MOST_BYTES = 2_000_000_000  # of the prepared rows of one row group
WINDOW_BYTES = 256_000_000  # prepared rows that are shuffled together, where rows are streamed


@dataclass(frozen=True)
class RowSet:
    """Prepared rows (N, C) float64 with labels (N,), and their source. It has the protocol of `Pictures`.

    Labels are int64 0 and 1, or float64 shares of yes.
    """

    rows: Tensor
    labels: Tensor
    source: str
    sha256: str

    classes = ()
    skipped = ()
    cut_at_random = False

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: Tensor) -> RowSet:
        return replace(self, rows=self.rows[index], labels=self.labels[index])

    def stream(self, batches: Sequence[Tensor], seed: int) -> Iterator[tuple[Tensor, Tensor]]:
        """(rows (B, C), labels (B,)) for each of the index tensors; nothing is random."""
        for index in batches:
            yield self.rows[index], self.labels[index]


@dataclass(frozen=True)
class RowStream:
    """Rows of Parquet files, read and prepared while they are asked for. It has the protocol of `Pictures`.

    A row group is read as a whole. `order` shuffles row groups, and the rows of neighbouring ones together, so that an
    epoch reads every row group once.

    Args:
        files (TableFiles): the Parquet files.
        encoder (TableEncoder): makes the network's inputs.
        labels (Tensor): of all rows that count (N,), int64 0 and 1 or float64 shares of yes.
        chosen (Tensor): the numbers of the rows that count, of all rows, increasing (N,).
        source (str): a short name of the data.
        sha256 (str): the SHA-256 of the data.
        window (int): bytes of prepared rows that are shuffled together. Default: 256 million.
    """

    files: TableFiles
    encoder: TableEncoder
    labels: Tensor
    chosen: Tensor
    source: str
    sha256: str
    window: int = WINDOW_BYTES

    classes = ()
    skipped = ()
    cut_at_random = False

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: Tensor) -> RowStream:
        """The rows of `index`, in the order of the file."""
        index = index.sort().values
        return replace(self, labels=self.labels[index], chosen=self.chosen[index])

    @cached_property
    def _groups(self) -> list[tuple[Path, int, int]]:
        """(file, row group, rows) of every row group."""
        return self.files.row_groups()

    @cached_property
    def _ends(self) -> Tensor:
        """How many of the rows that count lie in each row group and those before."""
        ends = torch.tensor([rows for _, _, rows in self._groups]).cumsum(0)
        return torch.searchsorted(self.chosen, ends)

    def check_groups(self) -> None:
        """Raise ValueError for a row group that takes too much memory: it is read as a whole."""
        for group, (file, number, rows) in enumerate(self._groups):
            if self._bytes(group) > MOST_BYTES:
                raise ValueError(
                    f"Row group {number} of {file} has {rows:,} rows, {self._bytes(group) / 1e9:.1f} GB when they are "
                    f"prepared; up to {MOST_BYTES / 1e9:.0f} GB are read at a time. Write it in smaller row groups."
                )

    def order(self, generator: torch.Generator) -> Tensor:
        """All rows (N,) in a random order that `stream` reads quickly."""
        begins = torch.cat([self._ends.new_zeros(1), self._ends[:-1]])
        found, window, size = [], list[Tensor](), 0
        for group in torch.randperm(len(self._groups), generator=generator).tolist():
            part = torch.arange(int(begins[group]), int(self._ends[group]))
            if window and size + self._bytes(group) > self.window:
                found.append(_shuffled(window, generator))
                window, size = [], 0
            window.append(part)
            size += self._bytes(group)
        found.append(_shuffled(window, generator))
        return torch.cat(found)

    def stream(self, batches: Sequence[Tensor], seed: int) -> Iterator[tuple[Tensor, Tensor]]:
        """(rows (B, C), labels (B,)) for each of the index tensors, in their order; nothing is random.

        A second thread reads the row groups that come next, of as many bytes as those of a window.
        """
        wanted = [self._groups_of(index) for index in batches]
        last = {group: place for place, groups in enumerate(wanted) for group in groups}
        waiting = deque(dict.fromkeys(group for groups in wanted for group in groups))
        held: dict[int, Any] = {}
        with ThreadPoolExecutor(1) as reader:
            for place, (index, groups) in enumerate(zip(batches, wanted, strict=True)):
                while waiting and (
                    not held.keys() >= set(groups)
                    or sum(map(self._bytes, held)) + self._bytes(waiting[0]) <= 2 * self.window
                ):
                    group = waiting.popleft()
                    held[group] = reader.submit(self._read, group)
                yield self._gathered(index, {group: held[group].result() for group in groups}), self.labels[index]
                for group in [group for group in held if last[group] <= place]:
                    del held[group]

    def _groups_of(self, index: Tensor) -> list[int]:
        return torch.searchsorted(self._ends, index, right=True).unique().tolist()

    def _gathered(self, index: Tensor, held: dict[int, Tensor]) -> Tensor:
        rows = torch.empty(len(index), self.encoder.input.width, dtype=torch.float64)
        groups = torch.searchsorted(self._ends, index, right=True)
        for group, prepared in held.items():
            mine = groups == group
            start = int(self._ends[group - 1]) if group else 0
            rows[mine] = prepared[index[mine] - start]
        return rows

    def _read(self, group: int) -> Tensor:
        """The prepared rows of a row group that count."""
        file, number, rows = self._groups[group]
        first = sum(rows for _, _, rows in self._groups[:group])
        start, end = (int(self._ends[group - 1]) if group else 0), int(self._ends[group])
        kept = self.chosen[start:end] - first
        names = [one.name for one in self.encoder.input.features]
        prepared = torch.cat(list(self.encoder.in_turn(self.files.row_group(file, number, names), first)))
        return prepared if len(kept) == rows else prepared[kept]

    def _bytes(self, group: int) -> int:
        return 8 * self.encoder.input.width * self._groups[group][2]


def open_rows(
    data: str | Path,
    input: TableInput,  # noqa: A002
    *,
    split: str = "train",
    classes: Sequence[str] = (),
    workers: int = 0,
    image_column: str | None = None,
    label_column: str | None = None,
    learned: Tensor | None = None,
    cache: bool | None = None,
) -> RowSet | RowStream:
    """The rows of one split of tables, for a network that takes `input` and whose vocabulary is `learned`.

    With `cache` they are prepared once and kept in memory, else read again in every epoch. None keeps up to 1 GB. CSV
    has no row groups to read again, so it is kept, and more than 1 GB of it is refused unless `cache` asks for it.
    A label is 0 or 1, or a share of yes between them: how sure one is of a yes.
    Raises ValueError for data that is not there, a column that is missing or of another type, and other labels.
    """
    if image_column:
        raise ValueError("image_column= is for networks of pictures.")
    name, files = training_files(data, split, input)
    where = files.where
    encoder = TableEncoder(ModelSpec("The network", (Block("rows", "rows"),), input), learned)
    files.check([one.name for one in input.features])
    labels = _labels(files, label_column, [one.name for one in input.features])
    if not len(labels):
        raise ValueError(f"{where} holds no rows.")
    source = called(data, name, files.files)
    stream = RowStream(files, encoder, labels, torch.arange(len(labels)), source, files.sha256())
    if cache is None:
        cache = 8 * input.width * len(labels) <= CACHE_BYTES
    if not cache and not files.parquet:
        raise ValueError(
            f"{where} has {len(labels):,} rows, {8 * input.width * len(labels) / 1e9:.1f} GB when they are prepared, "
            "and CSV is not streamed: write it as Parquet."
        )
    if not cache:
        stream.check_groups()
        return stream
    names = [one.name for one in input.features]
    rows = torch.cat(list(encoder.in_turn(files.batches(names))))
    return RowSet(rows, labels, source, stream.sha256)


def _labels(files: TableFiles, column: str | None, read: Sequence[str]) -> Tensor:
    name = choose_column(files.columns, "label", column, USUAL, [], files.where)
    if name in read:
        raise ValueError(
            f"{files.where}: the schema reads the column {name!r}, which is the label: what a network is to predict is "
            "no feature. Take it out of the schema, or name another label column."
        )
    return torch.from_numpy(shares(numbers(files, name), f"{files.where}, column {name!r},"))


def _shuffled(parts: Sequence[Tensor], generator: torch.Generator) -> Tensor:
    rows = torch.cat(list(parts))
    return rows[torch.randperm(len(rows), generator=generator)]
