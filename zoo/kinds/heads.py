"""The head of a network: the row that answers, by its kind's role."""

from __future__ import annotations

from zoo.kinds.costs import row_shapes
from zoo.kinds.rows import KINDS, arguments
from zoo.spec import Block, ModelSpec


def role(row: Block) -> str:
    """What the row is for: "stem", "trunk", "pool" or "head"."""
    return KINDS[row.kind].role


def head(spec: ModelSpec) -> Block | None:
    """The last row, where it is a head; None for a network that gives features."""
    return spec.rows[-1] if role(spec.rows[-1]) == "head" else None


def width_argument(row: Block) -> str:
    """The argument of a head that says how many outputs it has."""
    return KINDS[row.kind].widths["out"]


def outputs(spec: ModelSpec) -> int:
    """How many outputs the head has, for each example or for each of its tokens; 0 without a head."""
    found = head(spec)
    return int(arguments(found)[width_argument(found)]) if found else 0


def classes(spec: ModelSpec) -> int:
    """How many outputs a head has that answers for the whole example or for each pixel; 0 without such a head."""
    return outputs(spec) if head(spec) and len(row_shapes(spec)[-1]) in (1, 3) else 0


def per_pixel(spec: ModelSpec) -> bool:
    """Whether the head answers for each pixel: (K, H, W)."""
    return head(spec) is not None and len(row_shapes(spec)[-1]) == 3


def headless(spec: ModelSpec) -> ModelSpec:
    """The spec without its head: it gives what the head would have been given."""
    found = head(spec)
    if found is None or len(spec.rows) == 1:
        return spec
    trunk = spec.rows[:-1]
    if replacement := KINDS[found.kind].head_replacement:
        return spec.replace(rows=(*trunk, replacement))
    return spec.upto(trunk[-1].name)
