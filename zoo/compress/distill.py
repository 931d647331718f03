"""`distilled`: a student that a teacher taught. There is no arithmetic that makes one: it is trained."""

from __future__ import annotations


class NotATransformation(ValueError):
    """A variant that only training makes."""


def refuse(name: str) -> None:
    """Raise, with the line to run."""
    raise NotATransformation(
        "A distilled model is trained, not converted: take a shipped one, zoo.create('mobilenet-distilled'), or "
        f"train one from a folder of Parquet files: python scripts/train.py STUDENT --teacher {name} --data FOLDER."
    )
