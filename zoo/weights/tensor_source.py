"""`TensorSource`: how a file of another library stores one of our tensors. No torch."""

from __future__ import annotations

from dataclasses import dataclass

Shape = tuple[int, ...]


@dataclass(frozen=True)
class TensorSource:
    """The names and shapes of the `parts` that make our tensor, concatenated along the first axis.

    `transposed` parts are stored transposed (the Conv1D of GPT-2). No parts: the tensor is absent from the file and
    initialised to zero.
    """

    parts: tuple[tuple[str, Shape], ...]
    transposed: bool = False

    @staticmethod
    def one(name: str, shape: Shape) -> TensorSource:
        return TensorSource(((name, shape),))

    def under(self, prefix: str) -> TensorSource:
        """The same parts, with a prefix before each name."""
        return TensorSource(tuple((prefix + name, shape) for name, shape in self.parts), self.transposed)

    @property
    def name(self) -> str:
        """The name of the only part."""
        ((name, _),) = self.parts
        return name

    @property
    def shape(self) -> Shape:
        """The shape of the only part."""
        ((_, shape),) = self.parts
        return shape
