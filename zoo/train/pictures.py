"""The protocol of a source of pictures: `ImageSet` holds them in memory, `ImageStream` decodes while training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol, Self

import torch
from torch import Tensor


def order_of(examples: Any, generator: torch.Generator) -> Tensor:
    """The numbers of all examples (N,) in a random order; examples that are quick to read in some orders choose one."""
    own = getattr(examples, "order", None)
    return own(generator) if own is not None else torch.randperm(len(examples), generator=generator)


def with_recipe(examples: Any, recipe: Any) -> Any:
    """The same examples; those that change at random while they are read, by the recipe."""
    own = getattr(examples, "with_recipe", None)
    return own(recipe) if own is not None else examples


class Pictures(Protocol):
    """Pictures with labels (N,). `skipped` names the pictures that could not be read."""

    @property
    def labels(self) -> Tensor: ...

    @property
    def source(self) -> str: ...

    @property
    def sha256(self) -> str: ...

    @property
    def classes(self) -> tuple[str, ...]: ...

    @property
    def skipped(self) -> Sequence[str]: ...

    @property
    def cut_at_random(self) -> bool:
        """Whether `stream` makes random crops, so that the loop does not shift the pictures."""

    def __len__(self) -> int: ...

    def take(self, index: Tensor) -> Self:
        """The pictures of `index`, in its order."""

    def stream(self, batches: Sequence[Tensor], seed: int) -> Iterator[tuple[Tensor, Tensor]]:
        """(images uint8 (B, H, W, C), labels (B,)) for each of the index tensors; crops depend on `seed` alone."""
