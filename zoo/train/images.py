"""Small pictures held in memory as uint8.

Shapes: N pictures in the set, B in a batch, H and W height and width, 3 colours.
"""

import hashlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

VALIDATION = 5000  # pictures of train that every recipe holds out for choosing


@dataclass(frozen=True)
class ImageSet:
    """Decoded pictures (N, H, W, C) uint8 with labels (N,) int64, and where they came from.

    C is 3, or 1 for a network that takes grey. `classes` names the labels, where that is known, and `skipped` the
    pictures that could not be read, which are not among the N.
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
        """(images (B, H, W, C), labels (B,)) for each of the index tensors; nothing here is left to chance."""
        for index in batches:
            yield self.images[index], self.labels[index]


def read_parquet(path: str | Path) -> ImageSet:
    """Decode a Parquet file in the Hub's column style: `img` or `image` ({bytes, path}) and `label`."""
    import pyarrow.parquet as pq
    from PIL import Image

    path = Path(path)
    table = pq.read_table(path)
    column = next((name for name in ("img", "image") if name in table.column_names), None)
    if column is None or "label" not in table.column_names:
        raise ValueError(f"{path} needs the columns 'img' or 'image', and 'label'; it has {table.column_names}.")
    pictures = [np.asarray(Image.open(io.BytesIO(cell["bytes"])).convert("RGB")) for cell in table[column].to_pylist()]
    return ImageSet(
        torch.from_numpy(np.stack(pictures)),
        torch.tensor(table["label"].to_pylist()),
        path.name,
        hashlib.sha256(path.read_bytes()).hexdigest(),
    )


def split_validation(data: ImageSet, size: int = VALIDATION, seed: int = 0) -> tuple[ImageSet, ImageSet]:
    """(train, validation): `size` pictures, the same ones for the same seed, are held out for choosing."""
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed))
    return data.take(order[size:]), data.take(order[:size])


def normalize(images: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """(B, H, W, 3) uint8 to (B, 3, H, W) float32 in channels_last order."""
    scaled = (images.float() / 255 - torch.tensor(mean)) / torch.tensor(std)
    return scaled.permute(0, 3, 1, 2)


def class_names(path: str | Path) -> tuple[str, ...]:
    """The names of the classes, from the Parquet file's metadata; empty where it has none."""
    import pyarrow.parquet as pq

    names = (pq.read_schema(path).metadata or {}).get(b"class_names", b"").decode()
    return tuple(names.split(",")) if names else ()
