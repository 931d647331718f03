"""Ranges from data: what flows over each edge of a network, and the scales and zero points that its codes get."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
import torch.nn as nn
from torch import Tensor

from zoo import kinds
from zoo.engine.arithmetic import QParams
from zoo.kinds.streams import ADDED, Place, edges_of, joined, streams
from zoo.model.answer import answer
from zoo.model.build import Model
from zoo.passes.data import Batch
from zoo.passes.observers import Histogram, edge_range, merged, scale_and_zero
from zoo.passes.quantize import Edges
from zoo.passes.sums import watch_added, with_one_scale
from zoo.spec import Block, ModelSpec

Sums = dict[str, list[float]]  # row -> the range of what a shortcut is added to


class Observed:
    """What flowed over the edges of a network's rows. Which edges share a scale depends on which rows become int8."""

    def __init__(self, spec: ModelSpec, histograms: Mapping[Place, Histogram], observer: str) -> None:
        self._spec, self._histograms, self._observer = spec, histograms, observer
        self._chosen: dict[tuple[Place, ...], Mapping[Place, tuple[float, int]]] = {}

    def edges(self, names: Iterable[str]) -> Edges:
        """Every edge of the rows called `names`, where they are int8 and no others are."""
        rows = self._rows(names)
        found = self._places(rows)
        return {row.name: [list(found[row.name, edge]) for edge in edges_of(row)] for row in rows}

    def sums(self, names: Iterable[str]) -> Sums:
        """The ranges of what shortcuts are added to in these rows.

        The network itself does not round that. Runtimes that do (ONNX Runtime, XNNPACK) need to know its range.
        """
        rows = self._rows(names)
        found = self._places(rows)
        return {row.name: list(QParams(*found[row.name, ADDED]).ends) for row in rows if kinds.residual(row)}

    def _rows(self, names: Iterable[str]) -> list[Block]:
        wanted = set(names)
        return [row for row in self._spec.rows if row.name in wanted]

    def _places(self, rows: Sequence[Block]) -> dict[Place, tuple[float, int]]:
        found: dict[Place, tuple[float, int]] = {}
        for stream in streams(self._spec, rows):
            found |= self._choose(tuple(stream))
        for places in joined(self._spec, rows):
            found |= self._choose_one(tuple(places))
        for row in rows:
            for edge in (*edges_of(row), *([ADDED] if kinds.residual(row) else [])):
                if (row.name, edge) not in found:
                    found |= self._choose(((row.name, edge),))
        return found

    def _choose_one(self, places: tuple[Place, ...]) -> Mapping[Place, tuple[float, int]]:
        """One range for all of them."""
        key = (("", "joined"), *places)
        if key not in self._chosen:
            whole = merged([self._histograms[place] for place in places])
            self._chosen[key] = dict.fromkeys(places, scale_and_zero(*edge_range(whole, self._observer)))
        return self._chosen[key]

    def _choose(self, places: tuple[Place, ...]) -> Mapping[Place, tuple[float, int]]:
        if places not in self._chosen:
            histograms = {place: self._histograms[place] for place in places}
            if len(places) > 1:
                self._chosen[places] = with_one_scale(histograms, self._observer)
            else:
                self._chosen[places] = {
                    place: scale_and_zero(*edge_range(one, self._observer)) for place, one in histograms.items()
                }
        return self._chosen[places]


def observe(model: Model, rows: Sequence[Block], batches: Sequence[Batch], observer: str) -> Observed:
    """What flows over every edge of `rows` while the model answers the batches."""
    return Observed(model.spec, _histograms(model, rows, batches), observer)


def ranged(model: Model, rows: Sequence[Block], batches: Sequence[Batch], observer: str) -> Edges:
    """Every edge of `rows` as it was ranged over the batches."""
    return observe(model, rows, batches, observer).edges(row.name for row in rows)


def recorded(sums: Sums) -> dict[str, Sums]:
    """What a pass notes of them in `made`, for exports: nothing where there are none."""
    ranges = {name: [float(f"{end:.6g}") for end in ends] for name, ends in sums.items()}
    return {"sums": ranges} if ranges else {}


def _histograms(model: Model, rows: Sequence[Block], batches: Sequence[Batch]) -> dict[Place, Histogram]:
    """(row, edge) or (row, ADDED) -> what flowed there, by forward hooks on a copy."""
    watched = copy.deepcopy(model).eval()
    histograms: dict[Place, Histogram] = {}
    look = {"method": "widen"}

    def looker(place: Place) -> Callable[[Tensor], None]:
        histogram = histograms.setdefault(place, Histogram())
        return lambda x: getattr(histogram, look["method"])(x)

    for row in rows:
        module = watched.get_submodule(row.name)
        for edge in edges_of(row):
            _watch(module, edge, looker((row.name, edge)))
        if added := kinds.residual(row):
            watch_added(module, added, looker((row.name, ADDED)))
    with torch.inference_mode():
        for look["method"] in ("widen", "count"):
            for batch in batches:
                answer(watched, batch)
    return histograms


def _watch(module: nn.Module, edge: str, look: Callable[[Tensor], None]) -> None:
    if edge.startswith("tap"):
        at = 1 + int(edge.removeprefix("tap"))
        module.register_forward_pre_hook(lambda m, x: look(x[at]))
    elif edge == "in" or edge.startswith("<"):
        part = module if edge == "in" else module.get_submodule(edge[1:])
        part.register_forward_pre_hook(lambda m, x: look(x[0]))
    else:
        part = module if edge == "out" else module.get_submodule(edge)
        part.register_forward_hook(lambda m, x, y: look(y))
