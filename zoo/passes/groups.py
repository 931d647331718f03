"""Which channels must narrow together: union-find over rows and ties. No tracer, no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from zoo import kinds
from zoo.spec import ModelSpec

Node = tuple[str, str]  # (row, channel space)


@dataclass(frozen=True)
class Group:
    """Channel spaces that share one set of channels. A frozen one (input, classes, tapped) keeps its width.

    Heads go one by one: each is many entries wide. The channels of `parts`, such as the vectors of several features,
    one behind the other, narrow part by part.
    """

    name: str
    size: int
    members: tuple[Node, ...]
    frozen: bool
    step: int  # widths are multiples of it, unless one is asked for
    parts: tuple[int, ...] = ()


def channel_groups(spec: ModelSpec) -> list[Group]:
    """Every group of the network, in the order of its first row."""
    parent: dict[Node, Node] = {}
    size: dict[Node, int] = {}
    parts: dict[Node, tuple[int, ...]] = {}

    def find(node: Node) -> Node:
        while parent[node] != node:
            node = parent[node]
        return node

    def join(a: Node, b: Node) -> None:
        parent[find(b)] = find(a)

    before: Node = ("input", "out")
    parent[before], size[before] = before, spec.input.width
    frozen = [before]
    gives = {"input": before}  # row -> the channels of its output
    for row in spec:
        kind = kinds.KINDS[row.kind]
        for space, width in kinds.layer_widths(row).items():
            node = (row.name, space)
            parent[node], size[node] = node, width
            held = kinds.arguments(row)[kind.widths[space]]
            parts |= {node: held} if isinstance(held, tuple) else {}
            frozen += [node] if space in kind.fixed else []
        for a, b in kind.ties(kinds.arguments(row)):
            join((row.name, a), (row.name, b))
        for tap, name in enumerate(row.taps):
            if kind.branches:
                before = gives[name]
            elif (row.name, f"tap{tap}") in parent:
                join(gives[name], (row.name, f"tap{tap}"))
            else:
                frozen.append(gives[name])
        if not (kind.passes_channels or kind.branches):
            read, made = (row.name, "vocabulary" if kind.takes_ids else "in"), (row.name, "out")
            if read in parent:
                join(before, read)
            else:
                frozen.append(before)
            if made not in parent:  # a width that no argument holds
                parent[made], size[made] = made, 0
                frozen.append(made)
            before = made
        gives[row.name] = before
    frozen.append(before)
    frozen_roots = {find(node) for node in frozen}

    members: dict[Node, list[Node]] = {}
    for node in parent:
        members.setdefault(find(node), []).append(node)
    return [
        Group(
            ".".join(nodes[0]),
            size[nodes[0]],
            tuple(nodes),
            root in frozen_roots,
            _step(spec, nodes, size),
            next((parts[node] for node in nodes if node in parts), ()),
        )
        for root, nodes in members.items()
    ]


def of_part(group: Group, place: int) -> str:
    """The name of one part of a group."""
    return f"{group.name}[{place}]"


def parted(group: Group) -> list[Group]:
    """The parts of a group, as groups of their own."""
    return [
        replace(group, name=of_part(group, place), size=size, members=(), step=4 if size >= 8 else 1, parts=())
        for place, size in enumerate(group.parts)
    ]


def entries(axis: kinds.Axis, kept: Sequence[int]) -> list[int]:
    """The entries of the axis that belong to the kept channels, in order."""
    found, start = [], 0
    for width in axis.parts:
        found += [start + channel * width + one for channel in kept for one in range(width)]
        start += axis.size * width
    return found


def _step(spec: ModelSpec, nodes: list[Node], size: Mapping[Node, int]) -> int:
    for row, space in nodes:
        if row == "input":
            continue
        layers = kinds.KINDS[spec[row].kind].layers(kinds.arguments(spec[row]))
        if any(layer.target == space and sum(layer.target_parts) > 1 for layer in layers):
            return 1
    return 8 if size[nodes[0]] >= 64 else 4


def narrowed(spec: ModelSpec, widths: Mapping[str, int]) -> ModelSpec:
    """The spec with the named groups, and parts of groups, at new widths; torch-free."""
    changes: dict[str, dict[str, Any]] = {}
    for group in channel_groups(spec):
        if group.parts:
            dims = tuple(widths.get(of_part(group, place), size) for place, size in enumerate(group.parts))
            for row, space in group.members if dims != group.parts else ():
                kind = kinds.KINDS[spec[row].kind]
                whole = isinstance(kinds.arguments(spec[row])[kind.widths[space]], tuple)
                changes.setdefault(row, {})[kind.widths[space]] = dims if whole else sum(dims)
        if group.name not in widths:
            continue
        for row, space in group.members:
            kind, args = kinds.KINDS[spec[row].kind], kinds.arguments(spec[row])
            argument, width = kind.widths[space], widths[group.name]
            changes.setdefault(row, {})[argument] = width
            if other := kind.scales_with.get(argument):
                changes[row][other] = args[other] // args[argument] * width
    return spec.replace(rows=tuple(row.replace(**changes.get(row.name, {})) for row in spec))
