"""Which execution int8 modules use now: oneDNN's operators, or the same numbers in plain operators."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import ModuleType

import torch

from zoo.blocks.int8 import arithmetic, decomposed, onednn, qdq

_forced: ContextVar[ModuleType | None] = ContextVar("forced", default=None)


@contextmanager
def reference_execution() -> Iterator[None]:
    """While open, int8 modules of this thread compute in plain float operators: slow, exact, exportable."""
    with _forcing(arithmetic):
        yield


@contextmanager
def qdq_execution() -> Iterator[None]:
    """While open, int8 modules of this thread compute between ONNX's QuantizeLinear and DequantizeLinear.

    For `torch.onnx.export`: other runtimes know this form and make integer arithmetic of it.
    """
    with _forcing(qdq):
        yield


@contextmanager
def decomposed_execution() -> Iterator[None]:
    """While open, int8 modules of this thread compute between torch's own quantize and dequantize operators.

    For ExecuTorch, which makes integer arithmetic of them.
    """
    with _forcing(decomposed):
        yield


def runs_fast(device: torch.device) -> bool:
    """Whether int8 modules on `device` use oneDNN's integer operators now, as far as their weights allow.

    What is exported or compiled does not.
    """
    return not forced() and device.type == "cpu" and onednn.widest_weight() > 0


def forced() -> bool:
    """Whether plain operators are wanted whatever the device: they were asked for, or torch is tracing."""
    return _forced.get() is not None or torch.compiler.is_compiling()


def plain() -> ModuleType:
    """The plain operators: the module `arithmetic`, or what takes its place in an export."""
    return _forced.get() or arithmetic


@contextmanager
def _forcing(numerics: ModuleType) -> Iterator[None]:
    token = _forced.set(numerics)
    try:
        yield
    finally:
        _forced.reset(token)
