"""Specs of the same network for pictures of other channels or another size."""

from __future__ import annotations

from dataclasses import replace

from zoo.kinds.costs import row_shapes
from zoo.kinds.rows import KINDS
from zoo.spec import ModelSpec, SpecError


def with_channels(spec: ModelSpec, channels: int) -> ModelSpec:
    """The spec for pictures of so many channels, each normalised by the mean of what the usual ones are."""
    first, takes = spec.rows[0], spec.pictures
    if "in_channels" not in first.args:
        raise SpecError(f"{spec.name} starts with a {first.kind}, which takes no channels of pictures")
    most = takes.most_channels
    if not isinstance(channels, int) or isinstance(channels, bool) or not 1 <= channels <= most:
        raise SpecError(f"the channels of pictures are a whole number from 1 to {most}, not {channels!r}")
    if takes.channels == channels == first.args["in_channels"]:
        return spec
    given = replace(takes, channels=channels, mean=averaged(takes.mean, channels), std=averaged(takes.std, channels))
    return spec.edit(first.name, in_channels=channels).replace(input=given)


def with_size(spec: ModelSpec, size: tuple[int, int]) -> ModelSpec:
    """The spec for pictures of another height and width; one with positions learns those of that grid."""
    spec = spec.replace(input=replace(spec.pictures, size=size))
    for place, row in enumerate(spec.rows):
        if KINDS[row.kind].grid:
            height, width = row_shapes(spec)[place - 1][1:] if place else size
            patch = row.args["patch"]
            return spec.edit(row.name, rows=height // patch, columns=width // patch)
    return spec


def has_grid(spec: ModelSpec) -> bool:
    """Whether the network has positions for the patches of pictures of one size."""
    return any(KINDS[row.kind].grid for row in spec)


def averaged(values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    """One value a channel: those given, or their mean for each where there are more or fewer."""
    return values if len(values) == channels else (sum(values) / len(values),) * channels
