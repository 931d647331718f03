"""Counts, operator by operator, the memory that lives and the time that a device of given numbers would take."""

from __future__ import annotations

import weakref
from typing import Any

import torch.nn as nn
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from zoo.planning.devices import Device

# read some rows of their first input alone
_LOOKUPS = {"embedding", "index_select", "gather", "index", "_embedding_bag", "_embedding_bag_forward_only"}


class Ledger(TorchDispatchMode):
    """Watches operators. An operator takes the time of its products or that of its bytes, whichever is longer.

    Args:
        device (Device | None): whose time it is. Default: None, none is counted.

    Attributes:
        live (int): bytes that tensors made under it hold now.
        peak (int): the most of them since somebody set it.
        seconds (float): the time of all operators so far.
    """

    def __init__(self, device: Device | None = None) -> None:
        super().__init__()
        self.live = self.peak = 0
        self.seconds = 0.0
        self._device, self._known = device, set[int]()

    def known_already(self, model: nn.Module, *inputs: Tensor) -> None:
        """Leave out what was there before."""
        there = [*model.parameters(), *model.buffers(), *inputs]
        there += [one.grad for one in there if one.grad is not None]
        self._known |= {one.untyped_storage()._cdata for one in there}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        made = [one for one in tree_leaves(out) if isinstance(one, Tensor)]
        for one in made:
            self._note(one.untyped_storage())
        if self._device is not None:
            self.seconds += self._time(self._device, func, args, kwargs or {}, out, made)
        return out

    def _note(self, storage: Any) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key not in self._known:
            self._known.add(key)
            self.live += size
            self.peak = max(self.peak, self.live)
            weakref.finalize(storage, self._gone, key, size)

    def _gone(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.live -= size

    def _time(self, device: Device, func: Any, args: Any, kwargs: Any, out: Any, made: list[Tensor]) -> float:
        given = [one for one in tree_leaves((args, kwargs)) if isinstance(one, Tensor)]
        if func.is_view or not (made or given):
            return 0.0
        packet = func.overloadpacket
        products = flop_registry[packet](*args, **kwargs, out_val=out) if packet in flop_registry else 0
        name = packet.__name__
        if name in _LOOKUPS:
            moved = 2 * sum(map(_size, made)) + sum(map(_size, given[1:]))
        elif name == "index_add_" or name == "index_put_":
            moved = 3 * _size(given[-1])
        elif name.startswith(("empty", "new_empty", "detach")):
            return 0.0
        else:
            moved = sum(map(_size, given)) + sum(map(_size, made))
        return max(products / device.flops, moved / device.memory_bandwidth) + device.overhead


def _size(one: Tensor) -> int:
    return one.numel() * one.element_size()
