"""Examples with labels for `zoo.evaluate`: pictures in folders, tables or arrays, and texts in tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo import kinds, tasks
from zoo.checks import check_told
from zoo.data.folders import read_folders
from zoo.data.pairs import Pairs, Walk
from zoo.data.parquet import Rows
from zoo.data.readers import Reader
from zoo.data.splits import EVALUATION, called, parts_of, which
from zoo.tasks.targets import Targets

if TYPE_CHECKING:
    from zoo.model.build import Model


@dataclass(frozen=True)
class LabelledData:
    """Labelled examples. `examples` are what `zoo.preprocess` takes; None for one that is missing."""

    names: Sequence[str]
    labels: Any  # targets of the task, such as classes: labels[row], for each row in turn, and len(labels)
    examples: Iterable[Any]
    source: str
    digest: str | Callable[[], str]  # a function where only what was read is known
    files: Sequence[Path] = ()  # those of a table, which may have other columns

    @property
    def sha256(self) -> str:
        """The SHA-256 of the data; ask for it behind the last example, which it may need."""
        return self.digest if isinstance(self.digest, str) else self.digest()


@dataclass(frozen=True)
class _Wanted:
    """The reader of examples and of targets for one network, and the label column that the caller names."""

    reader: Reader
    targets: Targets
    label_column: str | None


def open_labelled_data(
    data: Any,
    model: Model,
    *,
    split: str | None = None,
    input_columns: Sequence[str] = (),
    label_column: str | None = None,
    ignore_index: int | None = None,
    skip_damaged: bool = False,
) -> LabelledData:
    """Open any data that `zoo.evaluate` takes; raises ValueError for other data."""
    spec = model.spec
    if isinstance(input_columns, str):
        raise ValueError(f"input_columns= takes a list of names, not {input_columns!r}.")
    check_told(
        split=split, label_column=label_column, **{f"input_columns[{i}]": one for i, one in enumerate(input_columns)}
    )
    task = tasks.of(spec)
    if not task.pairs and (ignore_index is not None or skip_damaged):
        raise ValueError(
            f"ignore_index= and skip_damaged= are for masks and boxes, and {spec.name} is for {task.name}."
        )
    reader: Reader = tasks.reader(spec, input_columns)
    targets: Targets = task.fetch("targets")(model)
    if task.pairs and isinstance(data, (str, Path)):
        columns = {"image_column": next(iter(input_columns), None), "target_column": label_column}
        return _open_pairs(data, model, split, columns, ignore_index, skip_damaged)
    if ignore_index is not None or skip_damaged:
        raise ValueError("ignore_index= and skip_damaged= are for data by its path or its name on the Hub.")
    if isinstance(data, (str, Path)):
        return _open_path(data, split, _Wanted(reader, targets, label_column))
    if split or input_columns or label_column:
        raise ValueError("split, input_columns and label_column are for data by its path or its name on the Hub.")
    examples, labels, source, sha256 = reader.in_memory(data)
    found = targets.in_memory(labels, len(examples))
    return LabelledData([f"{reader.one} {i}" for i in range(len(examples))], found, examples, source, sha256)


def _open_pairs(
    data: str | Path,
    model: Model,
    split: str | None,
    columns: dict[str, str | None],
    ignore_index: int | None,
    skip_damaged: bool,
) -> LabelledData:
    """Pictures with targets of their pixels, in the network's classes."""
    pairs: Pairs = (
        tasks.of(model.spec)
        .fetch("pairs")
        .open(data, split=split or EVALUATION, classes=known_classes(model), ignore_index=ignore_index, **columns)
    )
    mode, size = "RGB" if model.spec.input.width == 3 else "L", model.spec.pictures.size
    walk = Walk(pairs, mode, size, skip_damaged=skip_damaged)
    return LabelledData(pairs.names, walk, walk, pairs.source, pairs.sha256)


def known_classes(model: Model) -> tuple[str, ...]:
    """The network's labels; their numbers, where they have no names."""
    return model.labels or tuple(map(str, range(kinds.classes(model.spec))))


def _open_path(data: str | Path, split: str | None, wanted: _Wanted) -> LabelledData:
    parts = parts_of(data, wanted.reader.spec.input.tables)
    name = which(split or EVALUATION, parts, data)
    part = parts[name]
    where = called(data, name, part)
    if isinstance(part, Path):
        return _open_folder(part, where, wanted)
    if isinstance(part, list):
        return _open_table(part, where, wanted)
    return _open_hub(part, where, wanted)


def _open_folder(path: Path, where: str, wanted: _Wanted) -> LabelledData:
    spec = wanted.targets.model.spec
    if not wanted.reader.folders:
        raise ValueError(f"{path} is a folder of pictures, and {spec.name} takes {spec.input.unit}, in a Parquet file.")
    if wanted.reader.given or wanted.label_column:
        raise ValueError(f"input_columns and label_column are for tables; {path} holds folders of pictures.")
    found = read_folders(path)
    numbers = wanted.targets.of_folders(found.classes, found.numbers, where)
    return LabelledData(found.names, numbers, found.files, where, found.sha256)


def _open_table(files: list[Path], where: str, wanted: _Wanted) -> LabelledData:
    table = wanted.reader.table(files, where)
    examples = wanted.reader.of_table(table)
    labels = wanted.targets.of_table(table, wanted.label_column)
    return LabelledData(Rows(len(labels)), labels, examples, where, lambda: examples.sha256, files)


def _open_hub(dataset: Any, where: str, wanted: _Wanted) -> LabelledData:
    found, examples = wanted.reader.of_hub(dataset, wanted.label_column, where)
    labels = wanted.targets.of_hub(found.labels, found.classes, where)
    return LabelledData(Rows(len(labels)), labels, examples, where, found.sha256)
