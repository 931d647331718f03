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
    """Pictures uint8 (N, H, W, 3) and labels int64 (N,); `images, labels = samples()` takes it apart."""

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
    """The shipped pictures of a data set's `split`, with their labels: "test" to try on, "train" to calibrate with.

    The photographs of `("photographs", "calibration")` have no classes, and -1 for a label.
    """
    path = FOLDER / f"{dataset}-{split}.zip"
    shipped = available()
    if (dataset, split) not in shipped:
        those = ", ".join(f"{d!r} {s!r}" for d, s in shipped) or "none"
        raise ValueError(f"No sample pictures of {dataset!r} {split!r} ship; those that do: {those}.")
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
    """Photographs uint8 (N, H, W, 3), in the public domain or CC0, to calibrate ImageNet networks with."""
    return samples("photographs", "calibration").images


def available() -> list[tuple[str, str]]:
    """(data set, split) of everything that ships."""
    stems = sorted(path.stem for path in FOLDER.glob("*-*.zip"))
    return [(dataset, split) for dataset, _, split in (stem.rpartition("-") for stem in stems)]
