"""Which layers read the channels of a group: what they lose with a channel is what the channel is worth."""

from __future__ import annotations

from dataclasses import dataclass

from zoo import kinds
from zoo.passes.groups import Group
from zoo.passes.places import Place
from zoo.spec import ModelSpec


@dataclass(frozen=True)
class Reader(Place):
    """A layer that multiplies the channels of a group by weights; each channel has `entries` columns of them.

    The group's channels are those of the layer's input from `first` on.
    """

    entries: int
    first: int = 0


def readers(spec: ModelSpec, group: Group) -> list[Reader]:
    """The layers that read the group. The two layers of a squeeze-and-excite count in the group between them alone."""
    found = []
    for (row_name, space), start in zip(group.members, group.starts, strict=True):
        if row_name == "input":
            continue
        row = spec[row_name]
        args = kinds.arguments(row)
        layers = [
            layer
            for layer in kinds.KINDS[row.kind].layers(args)
            if layer.source == space and not layer.depthwise and not layer.table
        ]
        direct = [layer for layer in layers if not layer.pooled]
        for layer in direct or layers:
            entries = sum(layer.source_parts) * (1 if layer.linear else layer.kernel**2)
            found.append(Reader(row, layer, entries, start))
    return found
