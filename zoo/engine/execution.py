"""Which execution int8 modules use now: this processor's operators, the plain reference, or an exporter's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch

from zoo.blocks import settled
from zoo.blocks.traced import traced
from zoo.engine.cpu import onednn
from zoo.engine.cpu.integers import PROCESSOR
from zoo.engine.numerics import Numerics
from zoo.engine.reference import REFERENCE

_forced: ContextVar[Numerics | None] = ContextVar("forced", default=None)


@contextmanager
def executing(numerics: Numerics) -> Iterator[None]:
    """While open, int8 modules of this thread compute by `numerics`, whatever the device."""
    token, barred = _forced.set(numerics), settled.state.set(settled.BARRED)
    try:
        yield
    finally:
        _forced.reset(token)
        settled.state.reset(barred)


@contextmanager
def reference_execution() -> Iterator[None]:
    """While open, int8 modules of this thread compute in plain float operators: slow, exact, exportable."""
    with executing(REFERENCE):
        yield


def numerics(device: torch.device) -> Numerics:
    """What int8 modules on `device` compute by now."""
    return PROCESSOR if runs_fast(device) else plain()


def plain() -> Numerics:
    """The same without this processor's operators: the reference, or what an exporter passed."""
    return _forced.get() or REFERENCE


def runs_fast(device: torch.device) -> bool:
    """Whether int8 modules on `device` use oneDNN's integer operators now, as far as their weights allow.

    What is exported or compiled does not.
    """
    return not forced() and device.type == "cpu" and onednn.widest_weight() > 0


def forced() -> bool:
    """Whether plain operators are wanted whatever the device: they were asked for, or torch is tracing."""
    return _forced.get() is not None or traced()
