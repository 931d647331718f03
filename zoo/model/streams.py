"""One learned scale for each residual stream of a network in quantization-aware training."""

from __future__ import annotations

from typing import Any

import torch.nn as nn

from zoo.kinds.streams import ADDED, edges_of, streams


def share_scales(model: Any) -> None:
    """Let the qat rows of each residual stream take the scale of the stream's first place.

    A stream whose scales differ stays as it is: it was trained by an earlier version, each of its scales by itself.
    """
    rows = [row for row in model.spec.rows if row.precision == "qat"]
    for stream in streams(model.spec, rows):
        places = [(model.get_submodule(name), _edge(model, name, edge)) for name, edge in stream if edge != ADDED]
        (first, number), *others = places
        if all(_scale(module, at) == _scale(first, number) for module, at in others):
            for module, at in others:
                module.follow(at, first, number)


def _edge(model: Any, name: str, edge: str) -> int:
    return edges_of(model.spec[name]).index(edge)


def _scale(module: nn.Module, edge: int) -> tuple[float, float]:
    """The scale at the start, and the logarithm of what training has made of it."""
    held: Any = module
    return held.edges[edge, 0].item(), held.log_scale[edge - 1].item() if edge else 0.0
