"""`distilled`: a student that a teacher taught. There is no arithmetic that makes one: it is trained."""

from __future__ import annotations


class NotATransformation(ValueError):
    """A variant that only training makes."""


def refuse(name: str) -> None:
    """Raise, with the line to run."""
    raise NotATransformation(
        "A distilled model is trained, not converted: take a shipped one, zoo.create('mobilenet-distilled'), or train "
        f"one, from a checkout: python scripts/distill.py {name} --teacher TEACHER --data DATA --out STUDENT_FOLDER"
    )
