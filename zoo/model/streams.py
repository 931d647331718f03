"""The edges of a network's rows: those of one tensor are alike, and a residual stream learns one scale."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn as nn
from torch import Tensor

from zoo.kinds.streams import ADDED, edges_of, joined, sources, streams


def share_scales(model: Any) -> None:
    """Let the qat rows of each residual stream take the scale of the stream's first place.

    A stream whose scales differ stays as it is: it was trained by an earlier version, each of its scales by itself.
    Maps that a row joins as they are share theirs too.
    """
    rows = [row for row in model.spec.rows if row.precision == "qat"]
    for stream in (*streams(model.spec, rows), *joined(model.spec, rows)):
        places = [(model.get_submodule(name), _edge(model, name, edge)) for name, edge in stream if edge != ADDED]
        (first, number), *others = places
        if all(_scale(module, at) == _scale(first, number) for module, at in others):
            for module, at in others:
                if at:  # the first edge of a row stays as it was ranged
                    module.follow(at, first, number)

    for (name, edge), source in sources(model.spec, rows).items():
        if source and edges_of(model.spec[name]) == (edge,):  # what comes in and goes out is one tensor's
            module, maker = model.get_submodule(name), model.get_submodule(source.name)
            last = len(edges_of(source)) - 1
            if _scale(module, 0) == (_scale(maker, last)[0], 0.0) and source.emits == "uint8":
                module.follow(0, maker, last)


def _edge(model: Any, name: str, edge: str) -> int:
    return edges_of(model.spec[name]).index(edge)


def _scale(module: nn.Module, edge: int) -> tuple[float, float]:
    """The scale at the start, and the logarithm of what training has made of it."""
    held: Any = module
    return held.edges[edge, 0].item(), held.log_scale[edge - 1].item() if edge else 0.0


def check_edges(model: Any) -> None:
    """Check that scales are positive, zero points are codes, and adjacent int8 rows share scale and zero point."""
    known: dict[str, Tensor] = {}
    given = sources(model.spec, [row for row in model.spec if row.precision == "int8"])
    for row, module in zip(model.spec.rows, model.children(), strict=True):
        edges: Tensor | None = getattr(module, "current_edges" if row.precision == "qat" else "edges", None)
        if edges is not None:
            scales, zeros = edges.unbind(1)
            proper = (scales > 0) & scales.isfinite() & (zeros >= 0) & (zeros <= 255) & (zeros == zeros.round())
            if not proper.all():
                raise ValueError(f"Row {row.name!r} has a scale or zero point out of range: {edges.tolist()}.")
            for edge, own in zip(edges_of(row), edges, strict=True) if row.precision == "int8" else ():
                source = given[row.name, edge]
                if source and source.emits == "uint8" and not torch.equal(known[source.name], own):
                    raise ValueError(
                        f"Row {row.name!r} and {source.name!r}, which it reads, differ in scale or zero point."
                    )
            known[row.name] = edges[-1] if len(edges) else edges
            if row.precision == "int8":
                module.qparams  # read now: while it is exported, its tensors have no values  # noqa: B018
