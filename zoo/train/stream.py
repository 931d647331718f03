"""Pictures that are too many or too large for memory: worker processes decode them while the network trains.

Shapes: N pictures in the set, B in a batch, H and W height and width of the network's input, C its channels.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from zoo.data.parquet import content_of
from zoo.data.preprocess import ImageError, Preprocess, open_picture
from zoo.spec import ImageInput
from zoo.train.images import ImageSet

SCALE = (0.25, 1.0)  # training from scratch uses (0.08, 1); fine-tuning has fewer pictures and needs milder crops
RATIO = (3 / 4, 4 / 3)
CACHED_TOGETHER = 256  # pictures decoded together
WORTH_PROCESSES = 2048  # pictures; decoding fewer takes less time than starting processes


@dataclass(frozen=True, eq=False)
class ImageStream:
    """N pictures that are decoded when they are needed; it has the methods of an ImageSet.

    `pictures[row]["image"]` is an encoded picture, {bytes, path}, and must pickle; `names[row]` is the picture's name.
    `rows` (N,) are the rows of the set, with `labels` (N,). With `train`, every picture gets a random crop
    (torchvision's RandomResizedCrop: `scale` is the share of the area, `ratio` is width to height); without, pictures
    are cut as by `zoo.preprocess`. `workers` is the number of processes that decode; with 0 this process decodes.
    """

    pictures: Any  # a datasets.Dataset, or an object that is indexed like one
    names: Sequence[str]
    rows: Tensor
    labels: Tensor
    source: str
    sha256: str
    input: ImageInput
    classes: tuple[str, ...] = ()
    train: bool = False
    scale: tuple[float, float] = SCALE
    ratio: tuple[float, float] = RATIO
    workers: int = 2
    unreadable: set[int] = field(default_factory=set)  # rows found so far; shared with all streams made by `take`

    def __post_init__(self) -> None:
        if not isinstance(self.workers, int) or isinstance(self.workers, bool) or self.workers < 0:
            raise ValueError(f"workers is a whole number of at least 0, not {self.workers!r}.")
        for name, (low, high) in (("scale", self.scale), ("ratio", self.ratio)):
            if not 0 < low <= high or (name == "scale" and high > 1):
                raise ValueError(f"{name} is (least, most), above 0{' up to 1' * (name == 'scale')}: {(low, high)}.")

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def skipped(self) -> tuple[str, ...]:
        """The names of the pictures, among those requested so far, that could not be read."""
        return tuple(self.names[row] for row in sorted(self.unreadable.intersection(self.rows.tolist())))

    @property
    def cut_at_random(self) -> bool:
        return self.train

    def take(self, index: Tensor) -> ImageStream:
        return replace(self, rows=self.rows[index], labels=self.labels[index])

    def stream(self, batches: Sequence[Tensor], seed: int) -> Iterator[tuple[Tensor, Tensor]]:
        """(images uint8 (B, H, W, C), labels (B,)) for each of the index tensors, in their order.

        A picture's crop depends only on `seed` and its row, not on the workers or on the start of the stream.
        Unreadable pictures are left out and added to `skipped`. A training batch without a readable picture raises
        ValueError, because the loop counts steps. Without `train`, such a batch is left out, unless all batches are.
        """
        shown = False
        for index, images, readable in self._decoded(batches, seed):
            if len(images):
                shown = True
                yield images, self.labels[index][readable]
            elif self.train:
                raise self._unusable(index)
        if not shown and len(batches):
            raise self._unusable(torch.cat(list(batches)))

    def _unusable(self, index: Tensor) -> ValueError:
        names = [self.names[row] for row in self.rows[index].tolist()]
        return ValueError(
            f"None of the {len(names)} pictures of a batch of {self.source} can be read: "
            f"{', '.join(names[:5])}{', ...' if len(names) > 5 else ''}. Mend or remove them."
        )

    def cached(self) -> ImageSet:
        """All readable pictures, in memory; raises ValueError if there are none."""
        if self.workers and len(self) < WORTH_PROCESSES:
            return replace(self, workers=0).cached()
        height, width = self.input.size
        images = torch.empty(len(self), height, width, self.input.channels, dtype=torch.uint8)
        kept: list[Tensor] = []
        filled = 0
        for index, some, readable in self._decoded(torch.arange(len(self)).split(CACHED_TOGETHER), 0):
            images[filled : filled + len(some)] = some.view(-1, *images.shape[1:])  # an empty batch has another shape
            filled += len(some)
            kept.append(index[readable])
        if not filled:
            raise ValueError(
                f"None of the {len(self)} pictures of {self.source} can be read; {self.skipped[0]} is one."
            )
        labels = self.labels[torch.cat(kept)]
        return ImageSet(images[:filled], labels, self.source, self.sha256, self.classes, self.skipped)

    def _decoded(self, batches: Sequence[Tensor], seed: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """(index (B,), the readable images (up to B, H, W, C), readable (B,) bool) for each of `batches`."""
        loader = DataLoader(
            _Decoder(self.pictures, Preprocess(self.input), self._crop(), seed),
            batch_sampler=[self.rows[index].tolist() for index in batches],
            num_workers=min(self.workers, len(batches), cores()),
            collate_fn=_together,
            worker_init_fn=deaf,
            generator=torch.Generator(),  # without it, the loader would draw from the default generator
        )
        for index, (images, readable) in zip(batches, loader, strict=True):
            mask = torch.from_numpy(readable)
            self.unreadable.update(self.rows[index][~mask].tolist())
            yield index, torch.from_numpy(images), mask

    def _crop(self) -> Any:
        if not self.train:
            return None
        try:
            from torchvision.transforms import InterpolationMode, v2  # takes seconds; forked workers inherit it
        except ImportError:
            raise ValueError("Cutting at random needs torchvision: pip install 'zoo-efficient[train]'.") from None
        return v2.RandomResizedCrop(
            self.input.size, self.scale, self.ratio, interpolation=InterpolationMode(self.input.interpolation)
        )


class _Decoder(Dataset[Any]):
    """Row to uint8 (H, W, C), or None for an unreadable picture. Workers get a pickle of it."""

    def __init__(self, pictures: Any, prepare: Preprocess, crop: Any, seed: int) -> None:
        self.pictures, self.prepare, self.crop, self.seed = pictures, prepare, crop, seed

    def __getitem__(self, row: int) -> np.ndarray | None:
        try:
            picture = content_of(self.pictures[row]["image"])
            if picture is None:
                return None
            return self.prepare.cut(picture) if self.crop is None else self._cut_at_random(picture, row)
        except (ImageError, FileNotFoundError):
            return None

    def _cut_at_random(self, picture: Any, row: int) -> np.ndarray:
        size, channels = self.prepare.input.size, self.prepare.input.channels
        upright = open_picture(picture, "RGB" if channels == 3 else "L")
        # A hash, because torch uses 32 bits of a seed: with a sum, two pictures would share crops in different epochs.
        chance = int(np.random.SeedSequence((self.seed, row)).generate_state(1)[0])
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(chance)
            return np.asarray(self.crop(upright)).reshape(*size, channels)


def _together(pictures: list[np.ndarray | None]) -> tuple[np.ndarray, np.ndarray]:
    """(the readable pictures in one array, a mask of them). Not tensors: workers would send these through /dev/shm,
    which has 64 MB in a container."""
    readable = [picture for picture in pictures if picture is not None]
    mask = np.array([picture is not None for picture in pictures], dtype=bool)
    return np.stack(readable) if readable else np.empty((0, 0, 0, 0), np.uint8), mask


def cores() -> int:
    """The number of cores that this process may use: torch warns of more workers."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def deaf(worker: int) -> None:
    """Ignore Ctrl-C, which reaches all processes of a terminal: the trainer needs workers until its state is saved."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
