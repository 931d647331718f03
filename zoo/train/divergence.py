"""`Diverged`: the error for a loss that is not finite, with the row that caused it."""

from __future__ import annotations

from pathlib import Path

ADVICE = "Lower learning_rate=, raise warmup= or set clip=."


class Diverged(ArithmeticError):
    """A loss that is not finite; says the step, the row it came from, and what to do."""

    def __init__(self, loss: float, step: int, row: str | None, folder: Path | None, advice: str = ADVICE) -> None:
        self.loss, self.step, self.row = loss, step, row
        where = "every row's output is finite, so the labels or the teacher made it"
        if row == "input":
            where = "the pictures themselves are not finite"
        elif row is not None:
            where = f"row {row!r} is the first whose output is not finite"
        kept = "" if folder is None else f" The last checkpoint in {folder} stands as it was."
        super().__init__(f"The loss is {loss} at step {step}: {where}. {advice}{kept}")
