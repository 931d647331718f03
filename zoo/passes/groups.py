"""Which channels must narrow together, by rows, ties and taps. No tracer, no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from zoo import kinds
from zoo.passes.spans import Span, join, resolved
from zoo.spec import ModelSpec

Node = tuple[str, str]  # (row, channel space)


@dataclass(frozen=True)
class Group:
    """Channel spaces that share one set of channels. A frozen one (input, classes, tapped) keeps its width.

    Heads go one by one: each is many entries wide. The channels of `parts`, such as the vectors of several features,
    one behind the other, narrow part by part. `starts` says where in each member the group's channels begin.
    """

    name: str
    size: int
    members: tuple[Node, ...]
    frozen: bool
    step: int  # widths are multiples of it, unless one is asked for
    parts: tuple[int, ...] = ()
    starts: tuple[int, ...] = ()


def channel_groups(spec: ModelSpec) -> list[Group]:
    """Every group of the network, in the order of its first row."""
    spans: dict[Node, list[Span]] = {("input", "out"): [Span(spec.input.width)]}
    parts: dict[Node, tuple[int, ...]] = {}
    before = spans["input", "out"]
    frozen = [before]
    gives = {"input": before}  # row -> the channels of its output
    for row in spec:
        kind, args = kinds.KINDS[row.kind], kinds.arguments(row)
        own, derived = dict[str, list[Span]](), kind.derived(args)
        for space, width in kinds.layer_widths(row).items():
            composed = [span for part in kind.composed.get(space, ()) for span in own.get(part, [])]
            own[space] = spans[row.name, space] = composed or [Span(width)]
            held = args[kind.widths[space]] if space in kind.widths else None
            parts |= {(row.name, space): held} if isinstance(held, tuple) else {}
            frozen += [own[space]] if space in kind.fixed or space in derived else []
        for a, b in kind.ties(args):
            join(own[a], own[b])
        for tap, name in enumerate(row.taps):
            if kind.branches:
                before = gives[name]
            elif f"tap{tap}" in own:
                join(gives[name], own[f"tap{tap}"])
            elif tap not in kind.sized_by:
                frozen.append(gives[name])
        if not (kind.passes_channels or kind.branches):
            read = own.get("vocabulary" if kind.takes_ids else "in")
            if read:
                join(before, read)
            else:
                frozen.append(before)
            if "out" not in own:  # a width that no argument holds
                own["out"] = spans[row.name, "out"] = [Span(0)]
                frozen.append(own["out"])
            before = own["out"]
        gives[row.name] = before
    frozen.append(before)
    frozen_spans = {span for held in frozen for span in resolved(held)}

    found: dict[Span, list[tuple[Node, int]]] = {}
    for node, held in spans.items():
        start = 0
        for span in resolved(held):
            found.setdefault(span, []).append((node, start))
            start += span.size
    return [
        Group(
            _name(*places[0]),
            span.size,
            tuple(node for node, _ in places),
            span in frozen_spans,
            _step(spec, [node for node, _ in places], span.size),
            next((parts[node] for node, _ in places if node in parts), ()),
            tuple(start for _, start in places),
        )
        for span, places in found.items()
    ]


def _name(node: Node, start: int) -> str:
    return ".".join(node) if not start else f"{'.'.join(node)}+{start}"


def kept_channels(groups: Sequence[Group], kept: Mapping[str, Sequence[int]]) -> dict[Node, list[int]]:
    """The channels of each channel space that stay, where the groups have `kept` some of theirs."""
    pieces: dict[Node, list[tuple[int, Sequence[int], bool]]] = {}
    for group in groups:
        channels = kept.get(group.name, range(group.size))
        for node, start in zip(group.members, group.starts, strict=True):
            pieces.setdefault(node, []).append((start, channels, group.name in kept))
    return {
        node: [
            start + channel for start, channels, _ in sorted(of_node, key=lambda one: one[0]) for channel in channels
        ]
        for node, of_node in pieces.items()
        if any(narrower for *_, narrower in of_node)
    }


def of_part(group: Group, place: int) -> str:
    """The name of one part of a group."""
    return f"{group.name}[{place}]"


def parted(group: Group) -> list[Group]:
    """The parts of a group, as groups of their own."""
    return [
        replace(
            group, name=of_part(group, place), size=size, members=(), starts=(), step=4 if size >= 8 else 1, parts=()
        )
        for place, size in enumerate(group.parts)
    ]


def entries(axis: kinds.Axis, kept: Sequence[int]) -> list[int]:
    """The entries of the axis that belong to the kept channels, in order."""
    found, start = [], 0
    for width in axis.parts:
        found += [start + channel * width + one for channel in kept for one in range(width)]
        start += axis.size * width
    return found


def _step(spec: ModelSpec, nodes: list[Node], size: int) -> int:
    for row, space in nodes:
        if row == "input":
            continue
        layers = kinds.KINDS[spec[row].kind].layers(kinds.arguments(spec[row]))
        if any(layer.target == space and sum(layer.target_parts) > 1 for layer in layers):
            return 1
    return 8 if size >= 64 else 4


def narrowed(spec: ModelSpec, widths: Mapping[str, int]) -> ModelSpec:
    """The spec with the named groups, and parts of groups, at new widths; torch-free."""
    changes: dict[str, dict[str, Any]] = {}
    less: dict[Node, int] = {}  # channel space -> how many channels leave
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
            less[row, space] = less.get((row, space), 0) + group.size - widths[group.name]
    for (row, space), gone in less.items():
        kind, args = kinds.KINDS[spec[row].kind], kinds.arguments(spec[row])
        argument = kind.widths.get(space)
        if argument is None:  # the widths of what it is composed of say it
            continue
        width = kinds.layer_widths(spec[row])[space] - gone
        changes.setdefault(row, {})[argument] = width
        if other := kind.scales_with.get(argument):
            changes[row][other] = args[other] // args[argument] * width
    return spec.replace(rows=tuple(row.replace(**changes[row.name]) if row.name in changes else row for row in spec))
