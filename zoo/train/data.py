"""Open pictures for fine-tuning: folders of class folders, Parquet files, and data sets of the Hub.

All sources become a `datasets.Dataset` of undecoded pictures, so that only the zoo decodes pictures, and counts and
names damaged ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from zoo.data import hub
from zoo.data.classes import match
from zoo.data.folders import class_names, read_folders
from zoo.data.mapped import mapped
from zoo.data.parquet import IMAGES, LABELS, MAX_CLASSES, ParquetFiles, Rows
from zoo.data.splits import called, parts_of, splits, which
from zoo.spec import ImageInput
from zoo.train.images import ImageSet
from zoo.train.pairs import PairStream
from zoo.train.pictures import Pictures
from zoo.train.stream import SCALE, ImageStream

__all__ = ["hold_out", "open_pictures", "splits"]

CACHE_BYTES = 1_000_000_000
CACHE_SIDE = 64  # pixels; larger pictures gain from a new crop in each epoch

P = TypeVar("P", bound=Pictures)


@dataclass(frozen=True)
class _Found:
    """One split: undecoded pictures, their labels (N,), and the class names in the data, if any."""

    pictures: Any  # datasets.Dataset with the column `image`, undecoded
    labels: Tensor
    classes: tuple[str, ...]
    names: Sequence[str]
    sha256: str


def open_pictures(
    data: str | Path,
    input: ImageInput,  # noqa: A002
    *,
    split: str = "train",
    classes: Sequence[str] = (),
    cache: bool | None = None,
    workers: int = 2,
    scale: tuple[float, float] = SCALE,
    image_column: str | None = None,
    label_column: str | None = None,
) -> ImageSet | ImageStream:
    """The pictures of one split, for a network that takes `input`.

    `data` is a folder with a folder for every class, or with such folders below train/, validation/ and test/; a
    Parquet file, a glob or a folder of them (train*.parquet, ...), in the Hub's column style; or a data set of the
    Hub, "owner/name" or "owner/name:config". "validation" is also found as val, valid, dev or test.

    `classes` are the names that label numbers shall follow: the network's own, or another split's. Without them, they
    are the data's own, in its order; "0", "1", ... where it has none.

    With `cache` the pictures are kept in memory, cut to the network's size; else `workers` processes decode them as
    they are asked for, and those of "train" are cut at random, to at least the share `scale[0]` of their area. None
    caches small pictures, up to 64 pixels a side and 1 GB in all.

    `sha256` is that of the Parquet file (of the files' digests, where there are several), of a folder's names and
    contents (of names and sizes, above 1 GB), or of the fingerprint of a data set of the Hub.

    Raises ValueError for data that is not there or of another form, a split that is missing, and a class or a label
    that is not known.
    """
    if input.channels not in (1, 3):
        raise ValueError(f"The network takes {input.channels} channels; pictures have 1 or 3.")
    _check_datasets()
    parts = parts_of(data)
    name = which(split, parts, data)
    where = f"{data} ({name})"
    part = parts[name]
    if isinstance(part, Path):
        found = _read_folder(part)
    elif isinstance(part, list):
        found = _read_parquet(part, image_column, label_column, where)
    else:
        found = _read_hub(part, image_column, label_column, where)
    if not len(found.labels):
        raise ValueError(f"{where} holds no pictures.")
    labels, known = agreed(found.labels, found.classes, tuple(classes) or _folder_classes(parts), where)
    stream = ImageStream(
        found.pictures,
        found.names,
        torch.arange(len(labels)),
        labels,
        called(data, name, part),
        found.sha256,
        input,
        known,
        train=name == "train",
        scale=scale,
        workers=workers,
    )
    if cache is None:
        height, width = input.size
        small = len(labels) * height * width * input.channels <= CACHE_BYTES
        cache = small and max(input.size) <= CACHE_SIDE
    return replace(stream, train=False).cached() if cache else stream


def hold_out(data: P, share: float = 0.1, seed: int = 0) -> tuple[P, P]:
    """(train, held out): `share` of the examples, chosen by the seed, is held out, and gets no random crops."""
    size = round(len(data) * share)
    if not 0 < size < len(data):
        raise ValueError(
            f"{share} of {len(data)} examples leaves nothing to hold out, or nothing to train on: give more examples, "
            "or held_out=0 to train on all of them."
        )
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed))
    train, held = data.take(order[size:]), data.take(order[:size])
    return train, (replace(held, train=False) if isinstance(held, (ImageStream, PairStream)) else held)


def _check_datasets() -> None:
    try:
        import datasets  # noqa: F401
    except ImportError:
        raise ValueError("Reading pictures needs datasets: pip install 'zoo-efficient[train]'.") from None


def _folder_classes(parts: dict[str, Any]) -> tuple[str, ...]:
    """The classes of train if it is a folder of class folders; all splits use their numbers."""
    train = parts.get("train")
    return class_names(train) if isinstance(train, Path) else ()


def _read_folder(path: Path) -> _Found:
    # datasets' imagefolder is not used: it guesses splits from any folder or file called "test" or "dev", and drops
    # labels if folders differ in depth. The table holds only paths, so nothing is copied.
    from datasets import Dataset, Features

    found = read_folders(path)
    pictures = Dataset.from_dict({"image": [str(file) for file in found.files]}, Features({"image": hub.undecoded()}))
    labels = torch.tensor(found.numbers, dtype=torch.int64)
    return _Found(pictures, labels, found.classes, found.names, found.sha256)


def _read_parquet(files: list[Path], image_column: str | None, label_column: str | None, where: str) -> _Found:
    table = ParquetFiles(files, where)
    image = table.column("image", image_column, IMAGES, "Image")
    label = table.column("label", label_column, LABELS, "ClassLabel")
    labels = torch.from_numpy(table.labels(label))
    pictures, sha256 = mapped(table, image)
    return _Found(pictures, labels, table.class_names(label), Rows(len(labels)), sha256)


def _read_hub(dataset: Any, image_column: str | None, label_column: str | None, where: str) -> _Found:
    found = hub.read_pictures(dataset, image_column, label_column, where)
    labels = torch.from_numpy(found.labels)
    return _Found(found.table, labels, found.classes, Rows(len(labels)), found.sha256)


def agreed(
    labels: Tensor, own: tuple[str, ...], classes: tuple[str, ...], where: str
) -> tuple[Tensor, tuple[str, ...]]:
    """(labels in the numbers of `classes`, the classes). Data with its `own` class names is matched by name."""
    count = len(own or classes) or MAX_CLASSES
    if len(outside := ((labels < 0) | (labels >= count)).nonzero()):
        row = int(outside[0])
        raise ValueError(f"{where} has label {int(labels[row])} in row {row}; its classes are 0 to {count - 1:,}.")
    if not own:
        return labels, classes or tuple(str(number) for number in range(int(labels.max()) + 1))
    if not classes or own == classes:
        return labels, own
    used = labels.unique().tolist()
    numbers = torch.full((len(own),), -1)
    numbers[used] = torch.tensor(match([own[number] for number in used], classes, where))
    return numbers[labels], classes
