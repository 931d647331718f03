"""A network whose tensors stay as they are for the time of a step, so that no layer of it need look."""

from __future__ import annotations

import operator
from contextvars import ContextVar, Token
from typing import Any

import torch.nn as nn

from zoo.blocks.traced import traced

OPEN, CLOSED, BARRED = "open", "closed", "barred"
state: ContextVar[str] = ContextVar("settled", default=CLOSED)


class Settled:
    """Opened by `with` for each step of a generation. Between two steps a changed tensor is noticed.

    Modules that derive something of their tensors have `refresh()`, which drops it where they have changed. It takes as
    long as an operator, and while a network is settled it does nothing.
    """

    def __init__(self, model: nn.Module) -> None:
        self._parts: list[Any] = [part for part in model.modules() if hasattr(part, "refresh")]
        self._held = [part._buffers for part in self._parts]  # follow the modules
        self._seen: tuple[list[Any], list[int]] = ([], [])
        self._token: Token[str] | None = None

    def __enter__(self) -> None:
        if not self._parts or state.get() is not CLOSED or traced():
            return
        tensors = [one for held in self._held for one in held.values() if one is not None]
        versions = [one._version for one in tensors if not one.is_inference()]
        known, then = self._seen
        if len(tensors) != len(known) or not all(map(operator.is_, tensors, known)) or versions != then:
            for part in self._parts:
                part.refresh()
            self._seen = (tensors, versions)
        self._token = state.set(OPEN)

    def __exit__(self, *_: object) -> None:
        if self._token is not None:
            state.reset(self._token)
            self._token = None
