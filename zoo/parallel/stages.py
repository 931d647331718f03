"""Stages of a network: slices of its rows, one behind another, and what each hands to the next.

A stage takes the output of the row in front of it and of every earlier row that it, or a stage behind it, taps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

import torch
import torch.nn as nn
from torch import Tensor

from zoo import kinds
from zoo.model.build import Model
from zoo.spec import Block, ModelSpec


@dataclass(frozen=True)
class Part:
    """The rows of one stage, the rows whose outputs come in, and those whose outputs go out."""

    rows: tuple[Block, ...]
    takes: tuple[str, ...]
    gives: tuple[str, ...]

    @property
    def tables(self) -> tuple[str, ...]:
        """The rows elsewhere whose table a row here is tied to."""
        own = {row.name for row in self.rows}
        return tuple(dict.fromkeys(one for row in self.rows if (one := row.args.get("tied")) and one not in own))


def even_cuts(spec: ModelSpec, count: int) -> tuple[str, ...]:
    """The rows at which stages 2 to `count` begin, for stages of about equal multiply-accumulates.

    Raises ValueError for more stages than rows.
    """
    if count > len(spec.rows):
        raise ValueError(f"{spec.name} has {len(spec.rows)} rows, too few for {count} stages.")
    ends = list(accumulate(max(1, cost.macs) for cost in kinds.row_costs(spec)))
    starts: list[int] = []
    for number in range(1, count):
        first, last = (starts[-1] if starts else 0) + 1, len(ends) - (count - number)
        share = ends[-1] * number / count
        starts.append(min(range(first, last + 1), key=lambda place: abs(ends[place - 1] - share)))
    return tuple(spec.rows[place].name for place in starts)


def cut(spec: ModelSpec, starts: Sequence[str]) -> list[Part]:
    """The stages that begin at the first row and at the rows `starts`. Raises ValueError for rows out of order."""
    names = [row.name for row in spec.rows]
    if unknown := [name for name in starts if name not in names[1:]]:
        raise ValueError(f"A stage of {spec.name} cannot begin at {unknown[0]!r}; it can at one of {names[1:]}.")
    places = [0, *(names.index(name) for name in starts), len(names)]
    if places != sorted(set(places)):
        raise ValueError(f"Stages begin at rows in order, each once, not at {', '.join(starts)}.")
    parts, takes = [], tuple[str, ...]()
    for first, last in pairwise(places):
        gives = _crossing(spec.rows, last) if last < len(names) else (names[-1],)
        parts.append(Part(spec.rows[first:last], takes, gives))
        takes = gives
    return parts


def _crossing(rows: Sequence[Block], place: int) -> tuple[str, ...]:
    """The rows before `place` whose outputs are used at it or behind it."""
    kind = kinds.KINDS[rows[place].kind]
    read = set() if kind.branches or kind.takes_targets else {rows[place - 1].name}
    read |= {tap for row in rows[place:] for tap in row.taps}
    return tuple(row.name for row in rows[:place] if row.name in read and not _gives_input(row))


def _gives_input(row: Block) -> bool:
    """Whether it hands the network's input on: numbers of table rows, say, which messages of float32 would round."""
    return kinds.KINDS[row.kind].branches and row.taps == ("input",)


class Stage(nn.Module):
    """The rows of one part of a network, as a module of tensors: those that come in, to those that go out.

    Args:
        model (Model): the network, or as much of it as the part needs.
        part (Part): the rows.
        amid (bool): whether maps come and go in plain format, which messages need. Default: True.
    """

    def __init__(self, model: Model, part: Part, *, amid: bool = True) -> None:
        super().__init__()
        self.part, self.amid = part, amid
        self._model = [model]  # in a list, so that it is no child
        for name in (*(row.name for row in part.rows), *part.tables):
            self.add_module(name, model.get_submodule(name))

    def forward(self, *tensors: Tensor, given: Mapping[str, Any]) -> Tensor | tuple[Tensor, ...]:
        """`given` is the whole input by name, of which each stage has its own copy."""
        model: Any = self._model[0]
        part, named = self.part, hasattr(model, "row_keywords")  # a language model's rows take keywords too
        held = dict(zip(part.takes or ("input",), map(_entered if self.amid else _same, tensors), strict=True))
        context = model.row_keywords(given) if named else {}
        if any("input" in row.taps for row in model.spec):
            held |= dict.fromkeys(("input", *(row.name for row in model.spec if _gives_input(row))), given["input"])
        x = held.get(_before(model.spec, part.rows[0]), next(iter(held.values())))
        for row in part.rows:
            module: Any = self._modules[row.name]
            more = model.row_context(row, module, context) if named else {}
            x = module(x, *(held[tap] for tap in row.taps), **more)
            held[row.name] = x
        left = tuple(held[name] for name in part.gives)
        if self.amid:
            left = tuple(_left(one, carried=name in part.takes) for name, one in zip(part.gives, left, strict=True))
        return left[0] if len(left) == 1 else left


def _before(spec: ModelSpec, row: Block) -> str:
    names = ["input", *(one.name for one in spec.rows)]
    return names[names.index(row.name) - 1]


def _same(x: Tensor) -> Tensor:
    return x


def _entered(x: Tensor) -> Tensor:
    """Maps in channels_last, which convolutions are quicker with; gradients go back in plain format."""
    if not x.is_floating_point():
        return x
    y = x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x
    if y.requires_grad:
        y.register_hook(lambda gradient: gradient.contiguous())
    return y


def _left(x: Tensor, *, carried: bool) -> Tensor:
    """In plain format and float32, as messages are; no view, since torch detaches outputs in place."""
    y = x.float().contiguous()
    if x.dim() == 4 and x.requires_grad:
        x.register_hook(lambda gradient: gradient.contiguous(memory_format=torch.channels_last))
    return y.clone() if carried or y._is_view() else y


def keep_rows(model: Model, parts: Sequence[Part]) -> Model:
    """Drop all rows from a network but those of some stages, and of rows that these are tied to all but the table."""
    rows = {row.name for part in parts for row in part.rows}
    tables = {name for part in parts for name in part.tables} - rows
    for name in list(model._modules):
        if name in tables:
            table: Any = model._modules[name]
            for inner in list(table._modules):
                if inner != "tokens":
                    setattr(table, inner, None if table._modules[inner] is None else nn.Identity())
        elif name not in rows:
            del model._modules[name]
    return model
