"""Whether what another system answers is what the network answers."""

from __future__ import annotations

import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from zoo.engine.cpu.integers import fits
from zoo.model.build import Model
from zoo.runtime.signature import signature

Array = np.ndarray[Any, Any]
Engine = Callable[..., tuple[Array, ...]]  # arrays in, arrays out


def check_file(model: Model, run: Callable[..., Any], by: str) -> None:
    """Raise FileError unless `run` answers two examples as the network does.

    `run` takes what the network takes, and gives its answer, or a tuple of what it gives.
    """
    ready = signature(model)
    given = ready.example(2)
    with torch.no_grad():
        found = run(*given)
    ready.check(found, given, by)


def run_by(engine: Callable[..., Engine], model: Model, file: Path) -> Callable[..., Any]:
    """`file` in an engine, as a function of tensors, for `check_file`."""
    shape = None if model.spec.input.ragged else (2, *model.spec.input.shape())
    run = engine(file, shape, torch.get_num_threads(), exact=saturates(model))
    return lambda *x: tuple(map(torch.from_numpy, run(*(one.contiguous().numpy() for one in x))))


def saturates(model: Model) -> bool:
    """Whether products of its int8 weights could saturate on this processor."""
    return platform.machine().lower() in ("x86_64", "amd64", "i686") and not fits(model)
