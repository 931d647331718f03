"""Runs of channels: which of several channel spaces, whole or in part, are the same channels."""

from __future__ import annotations

from collections.abc import Sequence


class Span:
    """A run of channels. Once it is known to be another run, or several, it stands for those."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.parts: tuple[Span, ...] = ()


def resolved(spans: Sequence[Span]) -> list[Span]:
    """The runs that these stand for."""
    return [one for span in spans for one in (resolved(span.parts) if span.parts else [span])]


def join(some: Sequence[Span], others: Sequence[Span]) -> None:
    """Make both the same channels, in order: runs of different sizes are cut where the other side's end.

    A run of size 0, whose width nobody says, is all of the other side.
    """
    while pair := next(
        (pair for pair in zip(resolved(some), resolved(others), strict=False) if pair[0] is not pair[1]), None
    ):
        short, long = sorted(pair, key=lambda span: span.size)
        if short.size == 0:
            short.parts = tuple(resolved(others if short is pair[0] else some))
        elif short.size == long.size:
            pair[1].parts = (pair[0],)
        else:
            long.parts = (Span(short.size), Span(long.size - short.size))
