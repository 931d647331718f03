"""torch's own defaults, whatever `torch.set_default_dtype` and `torch.set_default_device` say."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn import init
from torch.overrides import TorchFunctionMode

_INITS = {init.uniform_, init.normal_, init.constant_, init.kaiming_uniform_, init.ones_, init.zeros_}
_INITS |= {Tensor.uniform_, Tensor.normal_, Tensor.fill_, Tensor.zero_}


class _NoValues(TorchFunctionMode):
    """Tensors of the meta device have no values: setting some would be a third of the time that a network takes."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        if func in _INITS and args and args[0].is_meta:
            return args[0]
        return func(*args, **(kwargs or {}))


@contextmanager
def usual_defaults(device: str | torch.device | None = "cpu") -> Iterator[None]:
    """Inside, new tensors are float32 and on `device`. It is a decorator too.

    Nothing is touched where the caller's defaults are these: the dtype belongs to the process, and a device that was
    chosen makes every operator slow.
    """
    wanted, dtype = torch.device(device or "cpu"), torch.get_default_dtype()
    if dtype != torch.float32:
        torch.set_default_dtype(torch.float32)
    try:
        chosen = wanted if torch.get_default_device() != wanted else nullcontext()
        with chosen, _NoValues() if wanted.type == "meta" else nullcontext():
            yield
    finally:
        if dtype != torch.float32:
            torch.set_default_dtype(dtype)


def check_device(device: str | torch.device | None) -> None:
    """Raise ValueError where no tensor can be put there."""
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, TypeError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        known = not reason.startswith("Expected one of")  # what follows there is all that torch could be built for
        why = f" ({reason})" if known else ""
        raise ValueError(f"Device {device!r} cannot be used here{why}; choose cpu, cuda or mps.") from None
