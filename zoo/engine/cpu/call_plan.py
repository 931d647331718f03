"""A chain of modules as one flat list of calls, with every constant in it.

On small maps the calls between operators cost as much as the operators: a module's own call, looking up what is packed
for a size, reading attributes. A module that has `function(x)` gives one function for inputs like `x`, in which all of
that is done; one without it is called as it is.

A large batch goes through such a list in parts, as it goes through a plain network (`memory.in_order`). A plain network
keeps more maps at once, so the parts of a plain network are half as large.
"""

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import torch
import torch.nn as nn
from torch import Tensor

from zoo.blocks.memory import one_by_one, parts, watched
from zoo.blocks.wiring import CHAIN, Wiring, run
from zoo.engine.execution import forced
from zoo.engine.module import VERSION, changes, versioned

Step = Callable[..., Tensor]  # of what the row before gives, and of what it taps

MAX_SIZES = 8  # lists kept ready
PART = 200_704  # pixels of input a thread in one part: four pictures of 224 x 224

_NOBODY = nn.Identity()  # without hooks of its own


class CallPlan:
    """Lists of calls for a chain of modules, one a size of input. Copies and pickles start empty."""

    def __init__(self) -> None:
        self._lists: dict[Any, _List] = {}

    def __call__(self, modules: Sequence[nn.Module], x: Tensor, wiring: Wiring = CHAIN) -> Tensor:
        """`x` through the modules, in order. Hooks are kept: a module that has some is called as a module."""
        if watched(_NOBODY) or forced() or x.requires_grad or not x.numel():
            return one_by_one(modules, x, wiring)
        count = parts(modules, x, PART)
        if count > 1:
            return torch.cat([self._in_one(modules, part, wiring) for part in x.chunk(count)])
        return self._in_one(modules, x, wiring)

    def _in_one(self, modules: Sequence[nn.Module], x: Tensor, wiring: Wiring) -> Tensor:
        key = (x.shape[2:], x.dtype, x.device, torch.is_grad_enabled(), torch.is_autocast_enabled("cpu"))
        found = self._lists.get(key)
        if found is None or not found.holds(modules):
            return self._first(key, modules, x, wiring)
        if wiring.kept:
            return run(found.steps, modules, x, wiring)
        for step in found.steps:
            x = step(x)
        return x

    def __reduce__(self) -> tuple[type["CallPlan"], tuple[()]]:
        return CallPlan, ()

    def _first(self, key: Any, modules: Sequence[nn.Module], x: Tensor, wiring: Wiring) -> Tensor:
        made = _List(modules)

        def first_call(module: nn.Module) -> Callable[..., Tensor]:
            def call(x: Tensor, *tapped: Tensor) -> Tensor:
                made.steps.append(step_of(module, x, *tapped))
                return made.steps[-1](x, *tapped)

            return call

        x = run([first_call(module) for module in modules], modules, x, wiring)
        while len(self._lists) >= MAX_SIZES:
            self._lists.pop(next(iter(self._lists)), None)
        self._lists[key] = made
        return x


class _List:
    """The calls of a chain of modules, and what they were made of."""

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        self.modules, self.steps, self._since = modules, list[Step](), changes()
        inside = [held for module in modules if hasattr(module, "function") for held in _tensors(module)]
        self._now = [held.values() for held in inside]  # follows the modules
        self._then = tuple(chain.from_iterable(self._now))  # references: a freed tensor's id() could be reused
        self._ids = tuple(map(id, self._then))
        self._written = versioned(self._then)
        self._versions = list(map(VERSION, self._written))

    def holds(self, modules: Sequence[nn.Module]) -> bool:
        """Whether they are still of these; no module hears of a tensor that is swapped or written to in place."""
        same = self._since == changes() and self.modules == modules
        same = same and tuple(map(id, chain.from_iterable(self._now))) == self._ids
        return same and list(map(VERSION, self._written)) == self._versions


def _tensors(module: nn.Module) -> list[dict[str, Any]]:
    return [held for one in module.modules() for held in (one._buffers, one._parameters) if held]


def step_of(module: nn.Module, x: Tensor, *tapped: Tensor) -> Step:
    """The module as a function of inputs like `x`, and of what it taps."""
    if not hasattr(module, "function") or _watched(module):
        return module
    return module.function(x, *tapped)  # type: ignore[operator]


def _watched(module: nn.Module) -> bool:
    return any(map(watched, module.modules()))
