"""Read a data set of the Hub with the `datasets` library."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from zoo.data.parquet import IMAGES, LABELS, choose_column, whole, without_bytes
from zoo.files import hub_cache


@dataclass(frozen=True)
class HubData:
    """One split: `table[row]["image"]` is an encoded picture, {bytes, path}; or `table[row]` has a text's columns."""

    table: Any  # datasets.Dataset
    labels: np.ndarray
    classes: tuple[str, ...]
    sha256: str


def read_pictures(dataset: Any, image_column: str | None, label_column: str | None, where: str) -> HubData:
    """The undecoded pictures in the column `image`, and their labels; raises ValueError if there are none."""
    pictures = pictures_of(dataset, "image", image_column, IMAGES, where)
    return _labelled(pictures, dataset, label_column, where)


def pictures_of(dataset: Any, what: str, given: str | None, usual: Sequence[str], where: str) -> Any:
    """The undecoded pictures of a column, as a data set with the column `image`; raises ValueError for another."""
    image = _column(dataset.features, what, given, usual, "Image", where)
    try:
        pictures = dataset.select_columns([image]).rename_columns({image: "image"} if image != "image" else {})
        pictures = pictures.cast_column("image", undecoded())
    except (TypeError, ValueError) as error:
        raise ValueError(f"Column {image!r} of {where} holds no pictures ({str(error).splitlines()[0]}).") from None
    _check_paths(pictures, where)
    return pictures


def _check_paths(pictures: Any, where: str) -> None:
    """Raise ValueError for a picture that is a path out of the caches: a data set of the Hub names no other file."""
    from datasets import config

    caches = [config.HF_DATASETS_CACHE, config.DOWNLOADED_DATASETS_PATH, hub_cache()]
    caches = [os.path.join(os.path.abspath(os.path.expanduser(cache)), "") for cache in caches]
    for chunk in pictures.data.column("image").chunks:  # of the paths alone: the bytes stay on the disk
        for name in chunk.field("path").filter(without_bytes(chunk)).to_pylist():
            if name and not os.path.abspath(name).startswith(tuple(caches)):
                raise ValueError(
                    f"{where} names the picture {name!r}, a file that is not from the data set: it is not opened."
                )


def read_texts(dataset: Any, columns: Sequence[str], label_column: str | None, where: str) -> HubData:
    """The columns of the texts, and their labels."""
    return _labelled(dataset.select_columns(list(columns)), dataset, label_column, where)


def undecoded() -> Any:
    """The type of a column of {bytes, path} in `datasets`."""
    from datasets import Image as Feature

    return Feature(decode=False)


def _labelled(table: Any, dataset: Any, label_column: str | None, where: str) -> HubData:
    label = _column(dataset.features, "label", label_column, LABELS, "ClassLabel", where)
    labels = whole(dataset.select_columns([label]).with_format("arrow")[:].column(label), label, where)
    names = tuple(getattr(dataset.features[label], "names", None) or ())
    return HubData(table, labels, names, digest(dataset))


def digest(dataset: Any) -> str:
    """The SHA-256 of the fingerprint of a data set."""
    return hashlib.sha256(dataset._fingerprint.encode()).hexdigest()


def _column(features: Any, what: str, given: str | None, usual: Sequence[str], kind: str, where: str) -> str:
    alike = [name for name in features if type(features[name]).__name__ == kind]
    return choose_column(list(features), what, given, usual, alike, where)
