"""A chain of modules as one flat list of calls, with every constant bound.

On small maps the calls between operators cost as much as the operators: a module's own call, looking up what is packed
for a size, reading attributes. A module that has `bind(x)` gives one function for inputs like `x`, in which all of that
is done; one without it is called as it is.

A large batch goes through such a list in parts: memory for maps of more than 32 MB comes from the system anew at every
call, which can cost as much as the network, and smaller ones stay in the caches.
"""

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import torch
import torch.nn as nn
from torch import Tensor
from torch.nn.modules import module as torch_module

from zoo.blocks.int8.execution import forced

Step = Callable[[Tensor], Tensor]

MAX_SIZES = 8  # lists kept ready
PART = 200_704  # pixels of input a thread in one part: four pictures of 224 x 224

_changes = 0


def changed() -> None:
    """What some module's bound function was made of is no longer so: every list is made again."""
    global _changes
    _changes += 1


class FlatCalls:
    """Lists of calls for a chain of modules, one a size of input. Copies and pickles start empty."""

    def __init__(self) -> None:
        self._lists: dict[Any, _List] = {}

    def __call__(self, modules: Sequence[nn.Module], x: Tensor) -> Tensor:
        """`x` through the modules, in order. Hooks are kept: a module that has some is called as a module."""
        watched = torch_module._global_forward_hooks or torch_module._global_forward_pre_hooks
        if watched or forced() or x.requires_grad or not x.numel():
            return _one_by_one(modules, x)
        parts = _parts(modules, x)
        if parts > 1:
            return torch.cat([self._in_one(modules, part) for part in x.chunk(parts)])
        return self._in_one(modules, x)

    def _in_one(self, modules: Sequence[nn.Module], x: Tensor) -> Tensor:
        key = (x.shape[2:], x.dtype, x.device, torch.is_grad_enabled(), torch.is_autocast_enabled("cpu"))
        found = self._lists.get(key)
        if found is None or not found.holds(modules):
            return self._first(key, modules, x)
        for step in found.steps:
            x = step(x)
        return x

    def __reduce__(self) -> tuple[type["FlatCalls"], tuple[()]]:
        return FlatCalls, ()

    def _first(self, key: Any, modules: Sequence[nn.Module], x: Tensor) -> Tensor:
        made = _List(modules)
        for module in modules:
            step = bound(module, x)
            x = step(x)
            made.steps.append(step)
        while len(self._lists) >= MAX_SIZES:
            self._lists.pop(next(iter(self._lists)), None)
        self._lists[key] = made
        return x


class _List:
    """The calls of a chain of modules, and what they were made of."""

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        self.modules, self.steps, self._since = modules, list[Step](), _changes
        inside = [held for module in modules if hasattr(module, "bind") for held in _tensors(module)]
        self._now = [held.values() for held in inside]  # follows the modules
        self._then = tuple(chain.from_iterable(self._now))  # kept, so that no other tensor gets one of their ids
        self._ids = tuple(map(id, self._then))

    def holds(self, modules: Sequence[nn.Module]) -> bool:
        """Whether they are still of these; `functional_call` swaps tensors that no module hears of."""
        same = self._since == _changes and self.modules == modules
        return same and tuple(map(id, chain.from_iterable(self._now))) == self._ids


def _tensors(module: nn.Module) -> list[dict[str, Any]]:
    return [held for one in module.modules() for held in (one._buffers, one._parameters) if held]


def bound(module: nn.Module, x: Tensor) -> Step:
    """The module as a function of inputs like `x`."""
    if not hasattr(module, "bind") or _watched(module):
        return module
    return module.bind(x)  # type: ignore[operator]


def _watched(module: nn.Module) -> bool:
    return any(m._forward_hooks or m._forward_pre_hooks for m in module.modules())


def _parts(modules: Sequence[nn.Module], x: Tensor) -> int:
    """How many parts to make of the batch: one for what trains, is not prepared for inference or has hooks, which see
    the whole batch."""
    if x.dim() != 4 or x.device.type != "cpu":
        return 1
    parts = -(-x.shape[0] * x.shape[2] * x.shape[3] // (PART * torch.get_num_threads()))
    if parts <= 1 or not any(hasattr(m, "bind") for m in modules) or any(m.training or _watched(m) for m in modules):
        return 1
    return min(parts, x.shape[0])


def _one_by_one(modules: Sequence[nn.Module], x: Tensor) -> Tensor:
    for module in modules:
        x = module(x)
    return x
