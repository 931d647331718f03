"""Pictures with masks or boxes for training: worker processes decode both, and change both alike at random.

Shapes: N pictures in the set, B in a batch, H and W height and width of the network's input, C its channels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from zoo.data.pairs import DamagedTarget, PairData, Pairs, at_size
from zoo.data.preprocess import Preprocess
from zoo.spec import ImageInput
from zoo.train.paired import PairedAugmentation
from zoo.train.recipe import Recipe
from zoo.train.stream import cores, deaf


@dataclass(frozen=True, eq=False)
class PairStream:
    """N pictures with targets, decoded when they are needed. It has the protocol of `zoo.train.pictures.Pictures`.

    With `train`, picture and target are resized, cut and mirrored at random, by `recipe`. Without, a picture is cut as
    by `zoo.preprocess`, and its target is as in the data, at the picture's own size.

    Args:
        pairs (Pairs): the pictures and their targets.
        rows (Tensor): the rows of `pairs` that count, int64 (N,).
        input (ImageInput): what the network takes.
        train (bool): whether examples change at random. Default: False.
        recipe (Recipe): the settings of these changes. Default: those of `Recipe()`.
        skip_damaged (bool): leave out examples whose target is damaged, and count them; else the first raises
            ValueError. Default: False.
        workers (int): number of processes that decode; with 0 this process decodes. Default: 2.
    """

    pairs: Pairs
    rows: Tensor
    input: ImageInput
    train: bool = False
    recipe: Recipe = field(default_factory=Recipe)
    skip_damaged: bool = False
    workers: int = 2
    left_out: set[int] = field(default_factory=set)  # rows found so far; shared with all streams made by `take`

    def __post_init__(self) -> None:
        if not isinstance(self.workers, int) or isinstance(self.workers, bool) or self.workers < 0:
            raise ValueError(f"workers is a whole number of at least 0, not {self.workers!r}.")

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def labels(self) -> Tensor:
        """No single number stands for a target: the rows themselves."""
        return self.rows

    @property
    def source(self) -> str:
        return self.pairs.source

    @property
    def sha256(self) -> str:
        return self.pairs.sha256

    @property
    def classes(self) -> tuple[str, ...]:
        return self.pairs.classes

    @property
    def named(self) -> bool:
        return self.pairs.named

    @property
    def skipped(self) -> tuple[str, ...]:
        """The names of the examples, among those requested so far, that were left out."""
        return tuple(self.pairs.names[row] for row in sorted(self.left_out.intersection(self.rows.tolist())))

    @property
    def cut_at_random(self) -> bool:
        return self.train

    def take(self, index: Tensor) -> PairStream:
        return replace(self, rows=self.rows[index])

    def with_recipe(self, recipe: Recipe) -> PairStream:
        """The same examples, changed at random by these settings."""
        return replace(self, recipe=recipe)

    def still(self) -> PairStream:
        """The same examples without random changes, as they are measured."""
        return replace(self, train=False)

    def stream(self, batches: Sequence[Tensor], seed: int) -> Iterator[tuple[Tensor, Any]]:
        """(images uint8 (B, H, W, C), targets) for each of the index tensors, in their order.

        Targets are stacked where they have one shape, such as masks of `train`, else a list. An example's changes
        depend only on `seed` and its row. A picture that cannot be read is left out and added to `skipped`; a training
        batch without any raises ValueError.
        """
        shown = False
        loader = DataLoader(
            _Decoder(self, seed),
            batch_sampler=[self.rows[index].tolist() for index in batches],
            num_workers=min(self.workers, len(batches), cores()),
            collate_fn=list,
            worker_init_fn=deaf,
            generator=torch.Generator(),  # without it, the loader would draw from the default generator
        )
        for index, found in zip(batches, loader, strict=True):
            rows = self.rows[index].tolist()
            if (damaged := [one for one in found if isinstance(one, str)]) and not self.skip_damaged:
                raise ValueError(f"{damaged[0]} Mend it, or leave such examples out with skip_damaged.")
            read = [one for one in found if isinstance(one, tuple)]
            self.left_out.update(row for row, one in zip(rows, found, strict=True) if not isinstance(one, tuple))
            if self.train and len(read) == 1 < len(rows):
                read *= 2  # batch norm of a map of one position has no variance of one picture
            if read:
                shown = True
                yield torch.from_numpy(np.stack([image for image, _ in read])), _together([one for _, one in read])
            elif self.train:
                raise self._unusable(rows)
        if not shown and len(batches):
            raise self._unusable(torch.cat([self.rows[index] for index in batches]).tolist())

    def _unusable(self, rows: Sequence[int]) -> ValueError:
        names = [self.pairs.names[row] for row in rows]
        return ValueError(
            f"None of the {len(names)} pictures of a batch of {self.source} can be used: "
            f"{', '.join(names[:5])}{', ...' if len(names) > 5 else ''}. Mend or remove them."
        )


class _Decoder(Dataset[Any]):
    """Row to (uint8 (H, W, C), target); None for an unreadable picture, a text for a damaged target."""

    def __init__(self, stream: PairStream, seed: int) -> None:
        self.pairs, self.seed = stream.pairs, seed
        self.prepare = Preprocess(stream.input)
        self.change = PairedAugmentation(stream.input, stream.recipe) if stream.train else None

    def __getitem__(self, row: int) -> tuple[np.ndarray, Any] | str | None:
        channels = self.prepare.input.channels
        try:
            found = self.pairs.at(row, "RGB" if channels == 3 else "L")
        except DamagedTarget as error:
            return str(error)
        if found is None:
            return None
        picture, target = found
        if self.change is None:
            return self.prepare.cut(picture), at_size(target, self.prepare.input.size)
        # A hash, because torch uses 32 bits of a seed: with a sum, two pictures would share changes.
        chance = int(np.random.SeedSequence((self.seed, row)).generate_state(1)[0])
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(chance)
            return self.change(np.array(picture).reshape(picture.height, picture.width, channels), target)


def _together(targets: list[Any]) -> Any:
    arrays = all(isinstance(one, np.ndarray) and one.shape == targets[0].shape for one in targets)
    return torch.from_numpy(np.stack(targets)) if arrays else targets


def open_pairs(
    kind: PairData,
    data: str | Path,
    input: ImageInput,  # noqa: A002
    *,
    split: str = "train",
    classes: Sequence[str] = (),
    workers: int = 2,
    image_column: str | None = None,
    label_column: str | None = None,
    class_names: Sequence[str] = (),
    ignore_index: int | None = None,
    skip_damaged: bool = False,
) -> PairStream:
    """The pairs of one split for a network that takes `input`; raises ValueError as `kind.open`."""
    if input.channels not in (1, 3):
        raise ValueError(f"The network takes {input.channels} channels; pictures have 1 or 3.")
    if not (input.squash and input.crop == 1):
        raise ValueError("A network that answers for places in a picture takes whole ones: crop=1.0 and squash=True.")
    pairs = kind.open(
        data,
        split=split,
        classes=classes,
        class_names=class_names,
        ignore_index=ignore_index,
        image_column=image_column,
        target_column=label_column,
    )
    train = split == "train"
    return PairStream(pairs, torch.arange(len(pairs)), input, train, skip_damaged=skip_damaged, workers=workers)
