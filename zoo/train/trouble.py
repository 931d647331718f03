"""A loss that is not finite: where it came from."""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from torch import Tensor

from zoo.build import Model


class Diverged(ArithmeticError):
    """A loss that is not finite; says the step, the row it came from, and what to do."""

    def __init__(self, loss: float, step: int, row: str | None, folder: Path) -> None:
        self.loss, self.step, self.row = loss, step, row
        where = "every row's output is finite, so the labels or the teacher made it"
        if row == "input":
            where = "the pictures themselves are not finite"
        elif row is not None:
            where = f"row {row!r} is the first whose output is not finite"
        super().__init__(
            f"The loss is {loss} at step {step}: {where}. Lower learning_rate, raise warmup or set clip. The last "
            f"checkpoint in {folder} stands as it was."
        )


def first_bad_row(model: Model, x: Tensor) -> str | None:
    """The first row whose output for `x` is not finite; "input" for `x` itself, None where all are."""
    if not bool(x.isfinite().all()):
        return "input"
    watched, found = copy.deepcopy(model), list[str]()

    def look(name: str, y: object) -> None:
        if isinstance(y, Tensor) and not bool(y.isfinite().all()):
            found.append(name)

    for name, row in watched.named_children():
        row.register_forward_hook(lambda _, __, y, name=name: look(name, y))
    with torch.no_grad():
        watched(x)
    return found[0] if found else None
