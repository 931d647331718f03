"""Pictures too many or too large to keep: decoded by worker processes while the network trains.

Shapes: N pictures in the set, B in a batch, H and W height and width of the network's input, C its channels.
"""

from __future__ import annotations

import errno
import io
import os
import shutil
import signal
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from zoo.preprocess import ImageError, Preprocess, open_picture
from zoo.spec import ImageInput
from zoo.train.images import ImageSet

SCALE = (0.25, 1.0)  # gentler than the (0.08, 1) of training from scratch: fine-tuning sees fewer pictures
RATIO = (3 / 4, 4 / 3)
CACHED_TOGETHER = 256  # pictures decoded in one go
WORTH_PROCESSES = 2048  # pictures; fewer are decoded before processes have started


@dataclass(frozen=True, eq=False)
class ImageStream:
    """N pictures where they lie; the same surface as an ImageSet.

    `pictures[row]["image"]` is {bytes, path}, still encoded, and must pickle; `names[row]` is what the picture is
    called. `rows` (N,) are the ones that belong here, with `labels` (N,). With `train`, every picture is cut at random
    (torchvision's RandomResizedCrop, with `scale` the share of the area and `ratio` width to height); without, as
    `zoo.preprocess` cuts it. `workers` is how many processes decode; 0 decodes here.
    """

    pictures: Any  # a datasets.Dataset, or whatever is indexed like one
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
    unreadable: set[int] = field(default_factory=set)  # rows met so far; shared by all that are taken from one

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
        """The pictures that could not be read, of those that were asked for so far."""
        return tuple(self.names[row] for row in sorted(self.unreadable.intersection(self.rows.tolist())))

    @property
    def cut_at_random(self) -> bool:
        return self.train

    def take(self, index: Tensor) -> ImageStream:
        return replace(self, rows=self.rows[index], labels=self.labels[index])

    def stream(self, batches: Sequence[Tensor], seed: int) -> Iterator[tuple[Tensor, Tensor]]:
        """(images uint8 (B, H, W, C), labels (B,)) for each of the index tensors, in their order.

        How a picture is cut depends on `seed` and its row alone: not on the workers, nor on where the stream began.
        Pictures that cannot be read are left out and join `skipped`. A training batch of no others raises ValueError,
        since the loop would lose count of its steps; without `train` it is passed over, unless all batches are such.
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
        """All that can be read, in memory; raises ValueError where that is none."""
        if self.workers and len(self) < WORTH_PROCESSES:
            return replace(self, workers=0).cached()
        height, width = self.input.size
        images = torch.empty(len(self), height, width, self.input.channels, dtype=torch.uint8)
        kept: list[Tensor] = []
        filled = 0
        for index, some, readable in self._decoded(torch.arange(len(self)).split(CACHED_TOGETHER), 0):
            images[filled : filled + len(some)] = some.view(-1, *images.shape[1:])  # shapeless, where none is readable
            filled += len(some)
            kept.append(index[readable])
        if not filled:
            raise ValueError(
                f"None of the {len(self)} pictures of {self.source} can be read; {self.skipped[0]} is one."
            )
        labels = self.labels[torch.cat(kept)]
        return ImageSet(images[:filled], labels, self.source, self.sha256, self.classes, self.skipped)

    def _decoded(self, batches: Sequence[Tensor], seed: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """(index (B,), images of the readable (up to B, H, W, C), readable (B,) bool) for each of `batches`."""
        loader = DataLoader(
            _Decoder(self.pictures, Preprocess(self.input), self._crop(), seed),
            batch_sampler=[self.rows[index].tolist() for index in batches],
            num_workers=min(self.workers, len(batches), _cores()),
            collate_fn=_together,
            worker_init_fn=_deaf,
            generator=torch.Generator(),  # else the loader draws a seed from everyone's generator
        )
        for index, (images, readable) in zip(batches, loader, strict=True):
            mask = torch.from_numpy(readable)
            self.unreadable.update(self.rows[index][~mask].tolist())
            yield index, torch.from_numpy(images), mask

    def _crop(self) -> Any:
        if not self.train:
            return None
        try:
            from torchvision.transforms import InterpolationMode, v2  # seconds, which forked workers then do not pay
        except ImportError:
            raise ValueError("Cutting at random needs torchvision: pip install 'zoo-efficient[train]'.") from None
        return v2.RandomResizedCrop(
            self.input.size, self.scale, self.ratio, interpolation=InterpolationMode(self.input.interpolation)
        )


class _Decoder(Dataset[Any]):
    """Row to uint8 (H, W, C), or None for what cannot be read; goes to the workers, so all of it pickles."""

    def __init__(self, pictures: Any, prepare: Preprocess, crop: Any, seed: int) -> None:
        self.pictures, self.prepare, self.crop, self.seed = pictures, prepare, crop, seed

    def __getitem__(self, row: int) -> np.ndarray | None:
        try:
            picture = _opened(self.pictures[row]["image"])
            return self.prepare.cut(picture) if self.crop is None else self._cut_at_random(picture, row)
        except (ImageError, FileNotFoundError):
            return None

    def _cut_at_random(self, picture: Any, row: int) -> np.ndarray:
        size, channels = self.prepare.input.size, self.prepare.input.channels
        upright = open_picture(picture, "RGB" if channels == 3 else "L")
        # Hashed, since torch takes 32 bits of a seed: sums would give one picture's crop to another in the next epoch.
        chance = int(np.random.SeedSequence((self.seed, row)).generate_state(1)[0])
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(chance)
            return np.asarray(self.crop(upright)).reshape(*size, channels)


def _opened(cell: Any) -> Any:
    """A path, or a Pillow image of the bytes."""
    content, path = (cell["bytes"], cell["path"]) if cell else (None, None)
    if content is None:
        if not path:
            raise ImageError("No picture here.")
        return path
    try:
        return Image.open(io.BytesIO(content))
    except Exception as error:  # decoders raise whatever they like
        raise ImageError(f"Not a picture ({error}).") from None


def _together(pictures: list[np.ndarray | None]) -> tuple[np.ndarray, np.ndarray]:
    """(the readable ones in one array, which those are). Arrays, since tensors would come through /dev/shm, and that is
    64 MB in a container."""
    readable = [picture for picture in pictures if picture is not None]
    mask = np.array([picture is not None for picture in pictures], dtype=bool)
    return np.stack(readable) if readable else np.empty((0, 0, 0, 0), np.uint8), mask


def _cores() -> int:
    """Those that this process may use: torch warns of more workers."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _deaf(worker: int) -> None:
    """Ctrl-C reaches every process of a terminal: the trainer saves its state, and needs its workers until then."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def mapped(files: list[Path], image: str, where: str) -> Any:
    """The pictures of Parquet files as a Dataset mapped from one temporary Arrow file.

    Parquet is no format to pick single rows from, and load_dataset would leave a copy in ~/.cache for good: this one is
    gone with the Dataset. Written once, at the speed of the disk, it costs no memory, and workers get it by its path.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq
    from datasets import Dataset as Table
    from datasets import Features

    schema = Features({"image": undecoded()}).arrow_schema
    folder = tempfile.mkdtemp(prefix="zoo-pictures-")
    try:
        with pa.OSFile(f"{folder}/pictures.arrow", "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
            for file in files:
                for batch in pq.ParquetFile(file).iter_batches(100, columns=[image]):
                    cells = undecoded().cast_storage(batch.column(0))
                    writer.write_batch(pa.record_batch([cells], schema=schema))
        pictures = Table.from_file(f"{folder}/pictures.arrow")
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise ValueError(
                f"{folder} has no room for the pictures of {where}; set TMPDIR to where there is."
            ) from None
        if isinstance(error, (TypeError, pa.ArrowNotImplementedError)):
            raise ValueError(f"Column {image!r} of {where} holds no pictures ({str(error).splitlines()[0]}).") from None
        raise
    weakref.finalize(pictures, _remove, folder, os.getpid())
    return pictures


def _remove(folder: str, owner: int) -> None:
    if os.getpid() == owner:  # not a forked worker's copy of the Dataset
        shutil.rmtree(folder, ignore_errors=True)


def undecoded() -> Any:
    """What `datasets` calls a column of {bytes, path}."""
    from datasets import Image as Feature

    return Feature(decode=False)
