"""Which rows of a student and of its teacher are compared.

Of networks of pictures these are maps of one size. Of Transformers they are hidden states, with a uniform map of the
blocks (TinyBERT: Jiao et al., 2020).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from zoo import kinds
from zoo.model.build import Model

OPTION = "feature_rows="


@dataclass(frozen=True)
class Pair:
    """A row of the student and the teacher's row that it follows.

    `widths` are the channels of both. `norms` are those through which a stream of tokens is read, "layer", "rms" or "".
    """

    own: str
    theirs: str
    widths: tuple[int, int]
    tokens: bool = False
    norms: tuple[str, str] = ("", "")


def compared(student: Model, teacher: Any, named: str) -> list[Pair]:
    """What `named` says, as "row,row=row_of_the_teacher"; else the blocks of Transformers, else maps by their size."""
    if not isinstance(teacher, Model):
        raise ValueError(f"feature_weight= compares maps of rows, and the teacher is no zoo model: {type(teacher)}.")
    networks = _Network(student, student), _Network(teacher, student)
    if named:
        return [_named(one, *networks) for one in named.split(",")]
    if any(one.stacked for one in networks):
        if missing := next((one for one in networks if not one.stacked), None):
            raise ValueError(
                f"feature_weight=: {missing.name} has no blocks of a Transformer, and the other network has: give "
                f"{OPTION} two rows of one kind."
            )
        return _blocks(*networks)
    own, theirs = (one.levels() for one in networks)
    if shared := [(row, theirs[size]) for size, row in own.items() if size in theirs]:
        return [_pair(*networks, *both) for both in shared]
    sizes = [", ".join(f"{height}x{width}" for height, width in one) for one in (own, theirs)]
    raise ValueError(
        f"feature_weight=: {student.spec.name} has maps of {sizes[0]} and {teacher.spec.name} of {sizes[1]}, none of "
        "one size."
    )


class _Network:
    """A network as the comparison sees it: the shapes of its rows, for the student's inputs."""

    def __init__(self, model: Model, student: Model) -> None:
        spec = self.spec = model.spec
        self.name = spec.name
        if spec.input.type != "image" and not spec.input.ids:
            raise ValueError(
                f"feature_weight= compares maps and hidden states, and {self.name} takes {spec.input.unit}."
            )
        size = student.spec.pictures.size if student.spec.input.type == "image" else student.spec.input.usual_size
        shapes = zip(spec, kinds.row_shapes(spec, size), strict=True)
        self.shapes = {row.name: tuple(shape) for row, shape in shapes}
        self.maps = [row.name for row in spec if len(self.shapes[row.name]) == 3]
        tokens = (row for row in spec if len(self.shapes[row.name]) == 2 and kinds.role(row) != "head")
        self.states = [row.name for row in tokens]
        self.stacks = kinds.stacks(spec)
        self.stacked = any(stack.blocks for stack in self.stacks)

    def check(self, row: str) -> None:
        """Raise ValueError for a row that gives neither a map nor tokens."""
        if row not in self.shapes:
            what = "a map" if self.maps and not self.states else "a map or tokens" if self.maps else "tokens"
            known = ", ".join([*self.maps, *self.states][:40])
            raise ValueError(f"{OPTION}: {self.name} has no row {row!r}. Rows with {what}: {known or 'none'}.")
        if row not in self.maps and row not in self.states:
            raise ValueError(
                f"{OPTION}: row {row!r} of {self.name} gives no map (channels, height, width) and no tokens."
            )

    def side(self, row: str) -> int:
        """0, or 1 for a row of a decoder behind an encoder."""
        return next(side for side, part in enumerate(kinds.parts(self.spec)) if any(one.name == row for one in part))

    def norm(self, row: str) -> str:
        """Of a stream that its blocks read through norms, the kind of these: its own scale says little."""
        inside = [one for stack in self.stacks for one in stack.blocks if row in (stack.before, one.name)]
        if not inside:
            return ""
        args = kinds.arguments(inside[0])
        return str(args["norm"]) if args["norm_first"] else ""

    def levels(self) -> dict[tuple[int, ...], str]:
        """Height and width -> the row that gives the last map of that size; where the head reads one, that."""
        if not (levels := kinds.levels(self.spec)):
            raise ValueError(f"feature_weight= compares maps (channels, height, width), and {self.name} has none.")
        read = [tap for tap in self.spec.rows[-1].taps if tap in self.maps]
        return {self.shapes[row][1:]: row for row in [*(level.row for level in levels), *read]}


def uniform(students: int, teachers: int) -> list[tuple[int, int]]:
    """(student's block, teacher's block), from 0: each of the student's follows one as deep, in shares of the depth.

    Of several that would follow the same one, the last does.
    """
    chosen = {max(1, round((place + 1) * teachers / students)) - 1: place for place in range(students)}
    return [(own, theirs) for theirs, own in sorted(chosen.items())]


def _blocks(student: _Network, teacher: _Network) -> list[Pair]:
    """What the first blocks take, and what the blocks give, of the encoder and of a decoder behind it."""
    found = []
    for own, theirs in zip(student.stacks, teacher.stacks, strict=False):
        if own.blocks and theirs.blocks:
            found.append((own.before, theirs.before))
            places = uniform(len(own.blocks), len(theirs.blocks))
            found += [(own.blocks[one].name, theirs.blocks[other].name) for one, other in places]
    return [_pair(student, teacher, *both) for both in found]


def _named(pair: str, student: _Network, teacher: _Network) -> Pair:
    """Of "row", or of "student's row=teacher's row"."""
    own, _, other = (part.strip() for part in pair.partition("="))
    other = other or own
    student.check(own)
    teacher.check(other)
    return _pair(student, teacher, own, other)


def _pair(student: _Network, teacher: _Network, own: str, other: str) -> Pair:
    """Raises ValueError for two rows that have no places in common."""
    one, two = student.shapes[own], teacher.shapes[other]
    if len(one) != len(two):
        what = {2: "tokens", 3: "a map"}
        raise ValueError(f"{OPTION}: {own!r} gives {what[len(one)]}, and {other!r} of the teacher {what[len(two)]}.")
    if len(one) == 3 and one[1:] != two[1:]:
        sizes = [f"{shape[1]}x{shape[2]}" for shape in (one, two)]
        raise ValueError(
            f"{OPTION}: the maps of {own!r} ({sizes[0]}) and {other!r} of the teacher ({sizes[1]}) differ in size."
        )
    if len(one) == 2 and (one[1] != two[1] or student.side(own) != teacher.side(other)):
        raise ValueError(
            f"feature_weight=: the tokens of {own!r} ({one[1]} of them) and {other!r} of the teacher ({two[1]}) differ."
        )
    return Pair(own, other, (one[0], two[0]), len(one) == 2, (student.norm(own), teacher.norm(other)))
