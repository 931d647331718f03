"""Keys and values of the tokens so far, so that the next one need not compute them again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

_FIRST = 64  # positions held at first; doubled when they are full


class LayerCache:
    """One attention's keys and values, (B, G, length, D) each.

    `memory` has those of the encoder's tokens, (texts, H, M, D) each, for cross attention; several rows of the batch,
    one behind the other, may belong to one text.
    """

    def __init__(self, room: int = 0, derived: dict[Any, tuple[Tensor, Any]] | None = None) -> None:
        self.length = 0
        self.memory: tuple[Tensor, Tensor] | None = None
        self._room_for = room
        self._derived = {} if derived is None else derived
        self._keys: Tensor | None = None
        self._values: Tensor | None = None

    def shared(self, settings: tuple[Any, ...], positions: Tensor, make: Callable[..., Any]) -> Any:
        """What `make` makes of `positions` and `settings`, once for all layers that ask for it in one call."""
        found = self._derived.get(settings)
        if found is None or found[0] is not positions:
            self._derived[settings] = found = (positions, make(positions, *settings))
        return found[1]

    def extend(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """All keys and values, the new ones (B, G, N, D) at the end."""
        end = self.length + keys.shape[2]
        self._keys, self._values = (
            self._room(old, new, end) for old, new in ((self._keys, keys), (self._values, values))
        )
        self._keys[:, :, self.length : end] = keys
        self._values[:, :, self.length : end] = values
        self.length = end
        return self._keys[:, :, :end], self._values[:, :, :end]

    def select(self, rows: Tensor) -> None:
        """Keep these rows of the batch, in this order."""
        if self._keys is not None and self._values is not None:
            self._keys, self._values = (self._chosen(old, rows) for old in (self._keys, self._values))

    def select_texts(self, texts: Tensor) -> None:
        """Keep the memory of these texts, in this order."""
        if self.memory is not None:
            keys, values = self.memory
            self.memory = keys[texts], values[texts]

    def _chosen(self, old: Tensor, rows: Tensor) -> Tensor:
        """Those rows, with as much room as before; what stands behind the last token is not copied."""
        chosen = old.new_empty(len(rows), *old.shape[1:])
        chosen[:, :, : self.length] = old[rows, :, : self.length]
        return chosen

    def _room(self, old: Tensor | None, new: Tensor, end: int) -> Tensor:
        if old is not None and old.shape[2] >= end:
            return old
        batch, groups, _, width = new.shape
        wider = torch.empty(
            batch,
            groups,
            self._room_for if self._room_for >= end else max(_FIRST, 2 * end),
            width,
            dtype=new.dtype,
            device=new.device,
        )
        if old is not None:
            wider[:, :, : self.length] = old[:, :, : self.length]
        return wider


class KVCache:
    """A LayerCache for each row of a network that has attention, by the row's name.

    `room` is how many tokens it is to hold, where that is known; more still find room.
    """

    def __init__(self, room: int = 0) -> None:
        self.layers: dict[str, LayerCache] = {}
        self._room = room
        self._derived: dict[Any, tuple[Tensor, Any]] = {}

    def __getitem__(self, row: str) -> LayerCache:
        found = self.layers.get(row)
        if found is None:
            found = self.layers[row] = LayerCache(self._room, self._derived)
        return found

    @property
    def length(self) -> int:
        """Tokens so far."""
        return next((layer.length for layer in self.layers.values()), 0)

    def select(self, rows: Tensor) -> None:
        """Keep these rows of the batch, in this order."""
        for layer in self.layers.values():
            layer.select(rows)

    def select_texts(self, texts: Tensor) -> None:
        """Keep the memory of these texts, in this order."""
        for layer in self.layers.values():
            layer.select_texts(texts)
