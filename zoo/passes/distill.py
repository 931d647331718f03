"""`distilled`: a student that a teacher taught. There is no arithmetic that makes one: it is trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from zoo.model.build import Model
    from zoo.passes.options import Options


class NotATransformation(ValueError):
    """A variant that only training makes."""


def plan(model: Model, options: Options) -> NoReturn:
    refuse(model.spec.name)


def refuse(name: str) -> NoReturn:
    """Raise, with the line to run."""
    raise NotATransformation(
        "A distilled model is trained, not converted: take a shipped one, zoo.create('mobilenet-distilled'), or train "
        f"one: zoo distill {name} --teacher TEACHER --data DATA --out STUDENT_FOLDER"
    )
