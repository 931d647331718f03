"""Whether torch watches the operators that run, to make a graph of them."""

import torch


def traced() -> bool:
    """Whether `torch.compile`, `torch.export` or `torch.jit.trace` watches."""
    return torch.compiler.is_compiling() or jit_traced()


def jit_traced() -> bool:
    """Whether `torch.jit.trace` watches."""
    return torch.jit.is_tracing()  # type: ignore[attr-defined]
