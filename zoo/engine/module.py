"""What all modules of the engine share: they drop what was derived from their tensors when one of them changes."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch.nn as nn
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from zoo.blocks import settled
from zoo.blocks.traced import traced

VERSION = operator.attrgetter("_version")  # how often a tensor was written to in place

_changes = 0


def changed() -> None:
    """What some module's functions were made of has changed: every list of calls is made again."""
    global _changes
    _changes += 1


def changes() -> int:
    """How many changes there were."""
    return _changes


def versioned(tensors: Iterable[Tensor | None]) -> list[Tensor]:
    """Those whose writes in place torch counts: all but tensors made in inference mode."""
    return [one for one in tensors if one is not None and not one.is_inference()]


class EngineModule(nn.Module):
    """Tensors keep their dtypes under `.half()` and `.to(dtype)`; what is derived from them is dropped on a change.

    Loading, moving, assigning, swapping and writing in place are noticed. Writing through `.data` or numpy, and into
    tensors made in inference mode, leaves no trace: whoever does calls `invalidate()` afterwards.
    """

    _derived_of: tuple[Tensor | None, ...] = ()
    _versioned: Sequence[Tensor] = ()  # those of them whose writes are counted
    _versions: tuple[int, ...] = ()  # of these

    def invalidate(self) -> None:
        """Drop what was derived from the tensors; it is made again when needed."""
        self.__dict__.update(_derived_of=(), _versioned=())
        changed()

    def refresh(self) -> None:
        """Forget what was derived of tensors that were swapped unseen, as `functional_call` does, or written to."""
        if settled.state.get() is settled.OPEN or traced():  # the latter swap in tensors without values
            return
        tensors, known = tuple(self._buffers.values()), self._derived_of
        if known:
            if all(map(operator.is_, tensors, known)) and tuple(map(VERSION, self._versioned)) == self._versions:
                return
            self.invalidate()
        counted = versioned(tensors)
        self.__dict__.update(_derived_of=tensors, _versioned=counted, _versions=tuple(map(VERSION, counted)))

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if isinstance(value, (Tensor, nn.Module)):
            self.invalidate()

    def register_forward_hook(
        self, hook: Any, *, prepend: bool = False, with_kwargs: bool = False, always_call: bool = False
    ) -> RemovableHandle:
        changed()
        return super().register_forward_hook(hook, prepend=prepend, with_kwargs=with_kwargs, always_call=always_call)

    def register_forward_pre_hook(
        self, hook: Any, *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        changed()
        return super().register_forward_pre_hook(hook, prepend=prepend, with_kwargs=with_kwargs)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> EngineModule:
        def keeping_dtype(tensor: Tensor) -> Tensor:
            out = fn(tensor)
            return out if out.dtype == tensor.dtype else tensor.to(out.device)

        self.invalidate()
        return super()._apply(keeping_dtype, recurse)

    def _load_from_state_dict(self, *args: Any) -> None:
        super()._load_from_state_dict(*args)
        self.invalidate()

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        state.update(self._underived(), _derived_of=(), _versioned=())
        return state

    def _underived(self) -> dict[str, Any]:
        return {}
