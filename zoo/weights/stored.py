"""How another library's file holds a tensor of ours. No torch."""

from __future__ import annotations

from dataclasses import dataclass

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Stored:
    """The names and shapes of the `parts` that make our tensor, one behind another along its first axis.

    `transposed` parts are written the other way round (the Conv1D of GPT-2). Without parts the file has nothing of it,
    and it is zero.
    """

    parts: tuple[tuple[str, Shape], ...]
    transposed: bool = False

    @staticmethod
    def one(name: str, shape: Shape) -> Stored:
        return Stored(((name, shape),))

    @property
    def name(self) -> str:
        """Of the only part."""
        ((name, _),) = self.parts
        return name

    @property
    def shape(self) -> Shape:
        """Of the only part."""
        ((_, shape),) = self.parts
        return shape
