"""Small pictures in memory, as uint8.

Shapes: N pictures in the set, B in a batch, H and W height and width, 3 colours.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from zoo.data.parquet import IMAGES, LABELS, ParquetFiles
from zoo.data.picture_paths import TablePictures
from zoo.data.pictures import open_picture
from zoo.files import local_path

VALIDATION = 5000  # pictures of train that every recipe holds out for choosing


@dataclass(frozen=True)
class ImageSet:
    """Decoded pictures (N, H, W, C) uint8 with labels (N,) int64, and their source.

    C is 3, or 1 for a network that takes grey pictures. `classes` are the names of the labels, if known. `skipped`
    names the pictures that could not be read; N does not count them.
    """

    images: Tensor
    labels: Tensor
    source: str
    sha256: str
    classes: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def cut_at_random(self) -> bool:
        return False

    def take(self, index: Tensor) -> "ImageSet":
        return ImageSet(self.images[index], self.labels[index], self.source, self.sha256, self.classes, self.skipped)

    def stream(self, batches: Sequence[Tensor], seed: int) -> Iterator[tuple[Tensor, Tensor]]:
        """(images (B, H, W, C), labels (B,)) for each of the index tensors; nothing is random."""
        for index in batches:
            yield self.images[index], self.labels[index]


def read_parquet(path: str | Path) -> ImageSet:
    """Decode a Parquet file in the Hub's column style: `img` or `image` ({bytes, path}) and `label`."""
    path = local_path(path)
    table = ParquetFiles([path], str(path))
    image, label = table.column("image", None, IMAGES, "Image"), table.column("label", None, LABELS, "ClassLabel")
    named = TablePictures(table)
    cells = (named.read(file, cell.as_py()) for file, batch in table.cells_by_file([image]) for cell in batch.column(0))
    pictures = [np.asarray(open_picture(cell, "RGB")) for cell in cells]
    labels = torch.from_numpy(table.labels(label))
    return ImageSet(torch.from_numpy(np.stack(pictures)), labels, path.name, named.sha256())


def split_validation(data: ImageSet, size: int = VALIDATION, seed: int = 0) -> tuple[ImageSet, ImageSet]:
    """(train, validation): `size` pictures, chosen by the seed, are held out for validation."""
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed))
    return data.take(order[size:]), data.take(order[:size])


def normalize(images: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """(B, H, W, 3) uint8 to (B, 3, H, W) float32 in channels_last order."""
    scaled = (images.float() / 255 - torch.tensor(mean)) / torch.tensor(std)
    return scaled.permute(0, 3, 1, 2)


def class_names(path: str | Path) -> tuple[str, ...]:
    """The names of the classes in the Parquet file's metadata; empty if it has none."""
    return ParquetFiles([local_path(path)], str(path)).class_names("label")
