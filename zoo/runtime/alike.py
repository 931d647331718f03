"""Whether what another system answers is what the network answers."""

from __future__ import annotations

import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from zoo.engine.cpu.integers import fits
from zoo.files import FileError
from zoo.model.build import Model
from zoo.runtime.signature import signature
from zoo.spec import ModelSpec

ALIKE = 0.98  # cosine of the outputs of int8 networks in two executions: a unit here and there
CLOSE = 1e-3  # of float networks, relative to the largest output

Array = np.ndarray[Any, Any]
Engine = Callable[..., tuple[Array, ...]]  # arrays in, arrays out


def check_alike(found: Tensor, expected: Tensor, spec: ModelSpec, by: str) -> None:
    """Raise FileError unless what `by` answers is what the network does, but for roundings."""
    if any(row.precision.startswith("int8") for row in spec):
        one = expected[0].numel() == 1  # a logit alone has no direction
        measured = (
            _near(found, expected) if one else float(cosine_similarity(found.flatten(1), expected.flatten(1)).min())
        )
        right = measured >= ALIKE
    else:
        measured = float((found - expected).abs().max() / expected.abs().max().clamp_min(1e-12))
        right = measured <= CLOSE
    if not right:
        raise FileError(
            f"{by} gives other answers than {spec.name} (they differ by {measured:.3g}): use another runtime."
        )


def _near(found: Tensor, expected: Tensor) -> float:
    """1 where logits are equal, less by their distance over the largest of them, or over 1 where all are smaller."""
    return 1 - float((found - expected).abs().max() / expected.abs().max().clamp_min(1.0))


def check_file(model: Model, run: Callable[..., Any], by: str) -> None:
    """Raise FileError unless `run` answers two examples as the network does.

    `run` takes what the network takes, and gives its answer, or a tuple of what it gives.
    """
    ready = signature(model)
    given = ready.example(2)
    with torch.no_grad():
        found = run(*given)
    with torch.inference_mode():
        expected = ready.module(*given)
    for one, other in zip(ready.parts(found, given), ready.parts(expected, given), strict=True):
        check_alike(one, other, model.spec, by)


def run_by(engine: Callable[..., Engine], model: Model, file: Path) -> Callable[..., Any]:
    """`file` in an engine, as a function of tensors, for `check_file`."""
    shape = None if model.spec.input.ragged else (2, *model.spec.input.shape())
    run = engine(file, shape, torch.get_num_threads(), exact=saturates(model))
    return lambda *x: tuple(map(torch.from_numpy, run(*(one.contiguous().numpy() for one in x))))


def saturates(model: Model) -> bool:
    """Whether products of its int8 weights could saturate on this processor."""
    return platform.machine().lower() in ("x86_64", "amd64", "i686") and not fits(model)
