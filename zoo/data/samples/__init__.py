"""Pictures that ship with the package, to try the networks on."""

import io
import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

FOLDER = Path(__file__).parent


@dataclass(frozen=True, repr=False)
class Samples:
    """Labelled pictures; `images, labels = zoo.samples()` takes them apart.

    Attributes:
        images (np.ndarray): uint8 (N, H, W, 3).
        labels (np.ndarray): int64 (N,), indices into `classes`; -1 for a picture without a class.
        classes (tuple[str, ...]): the names of the classes.
        source (str): the name of the file.
        sha256 (str): the SHA-256 of the file.
    """

    images: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    source: str
    sha256: str

    def __iter__(self) -> Iterator[Any]:
        return iter((self.images, self.labels))

    def __repr__(self) -> str:
        return f"{len(self.labels)} pictures of {len(self.classes)} classes from {self.source}"


def samples(dataset: str = "cifar10", split: str = "test") -> Samples:
    """Pictures that ship with the package, to try networks on or to calibrate with.

    Args:
        dataset (str): "cifar10", or "photographs" (public domain or CC0, without classes). Default: "cifar10".
        split (str): "test" or "train" of "cifar10", "calibration" of "photographs". Default: "test".

    Returns:
        `Samples`.

    Raises:
        ValueError: the package has no such pictures; the message lists those that do.

    Example:
        >>> images, labels = zoo.samples("cifar10", "test")
        >>> images.shape, labels.shape
        ((500, 32, 32, 3), (500,))
    """
    path = FOLDER / f"{dataset}-{split}.zip"
    shipped = available()
    if (dataset, split) not in shipped:
        those = ", ".join(f"{d!r} {s!r}" for d, s in shipped) or "none"
        raise ValueError(f"The package has no pictures of {dataset!r} {split!r}; it has {those}.")
    with zipfile.ZipFile(path) as archive:
        facts = json.loads(archive.read("labels.json"))
        names = sorted(facts["labels"])
        pictures = [np.asarray(Image.open(io.BytesIO(archive.read(name))).convert("RGB")) for name in names]
    return Samples(
        np.stack(pictures),
        np.array([facts["labels"][name] for name in names], dtype=np.int64),
        tuple(facts["classes"]),
        path.name,
        sha256(path.read_bytes()).hexdigest(),
    )


def calibration_pictures() -> np.ndarray:
    """Photographs, uint8 (N, H, W, 3), in the public domain or CC0, to calibrate ImageNet networks."""
    return samples("photographs", "calibration").images


def available() -> list[tuple[str, str]]:
    """(data set, split) of everything that ships."""
    stems = sorted(path.stem for path in FOLDER.glob("*-*.zip"))
    return [(dataset, split) for dataset, _, split in (stem.rpartition("-") for stem in stems)]
