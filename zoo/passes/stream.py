"""What flows through a network on calibration inputs, one row after another: every row runs once, not once a layer.

Two streams side by side compare a network with a smaller one: what the smaller one's layers take, and what the dense
one's layers give.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
import torch.nn as nn
from torch import Tensor

from zoo.model.answer import answer
from zoo.model.build import Model
from zoo.passes.data import Batch, split

PART = 16  # inputs that run together: what one row makes of them is all that is in memory beside the rows' inputs


class Stream:
    """The inputs of one row of a float network, batch by batch.

    `row` is that row, the first at the start, None behind the last. Its module in the network may be changed, or
    replaced by `replace`, before `step` goes on to the next one. Run it under `torch.inference_mode()`.
    """

    def __init__(self, model: Model, batches: Sequence[Batch]) -> None:
        self.model = model
        self.rows = [row.name for row in model.spec]
        self._place = 0
        self._kept: list[dict[str, Tensor]] = []  # a batch -> what taps read, and the input of the row
        self._contexts: list[dict[str, dict[str, Any]]] = []  # a batch -> row -> its keywords: masks, positions
        self._tapped = frozenset(tap for row in model.spec for tap in row.taps)
        for batch in batches:
            for part in split(batch, PART):
                first, contexts = _contexts(model, part)
                self._kept.append({"": first, **({"input": first} if "input" in self._tapped else {})})
                self._contexts.append(contexts)

    @property
    def row(self) -> str | None:
        """The name of the row whose inputs these are."""
        return self.rows[self._place] if self._place < len(self.rows) else None

    @property
    def inputs(self) -> list[Tensor]:
        """What the row takes, a tensor a batch."""
        return [kept[""] for kept in self._kept]

    @property
    def masks(self) -> list[Tensor | None]:
        """Which tokens count of what the row's parts take, (B, tokens) a batch; None where all do, and for pictures."""
        return self.masks_of("in")

    def masks_of(self, source: str) -> list[Tensor | None]:
        """`masks`, of what a layer from the channels `source` takes: a decoder's cross attention reads a text's."""
        name, key = self.row or "", "memory_mask" if source.startswith("tap") else "mask"
        found = (contexts.get(name, {}).get(key) for contexts in self._contexts)
        return [None if mask is None else mask.repeat(self.repeats, 1) for mask in found]

    @property
    def repeats(self) -> int:
        """How many times the row runs its parts."""
        return int(self.model.spec[self.row].args.get("repeats", 1)) if self.row else 1

    def replace(self, module: nn.Module) -> None:
        """Put another module in the place of the row's: the one that `step` runs."""
        assert self.row is not None
        setattr(self.model, self.row, module)

    def taken(self, path: str) -> Iterator[Tensor]:
        """What the part of the row at `path`, such as "project", takes; "" is the row itself. A tensor a batch.

        The row runs up to there, as it is now. Of a row that repeats, what the part takes each time, one behind the
        other.
        """
        for batch in range(len(self._kept)):
            yield self._until(batch, path, before=True)

    def given(self, path: str) -> Iterator[Tensor]:
        """What the part at `path` gives, such as "project.bn", a tensor a batch: read each before the next."""
        for batch in range(len(self._kept)):
            yield self._until(batch, path, before=False)

    def step(self) -> None:
        """Go on to the next row: its inputs are what this row, as it is now, gives."""
        name = self.row
        assert name is not None
        for batch, kept in enumerate(self._kept):
            kept[""] = self._run(batch)
            if name in self._tapped:
                kept[name] = kept[""]
        self._place += 1

    def ahead(self, last: str, changed: Mapping[str, nn.Module | None] | None = None) -> Iterator[Tensor]:
        """What the row `last` will give, a tensor a batch, when other modules stand in the place of some rows.

        A row whose module is None is left out: what it takes goes on to the next one.
        """
        changed = changed or {}
        for kept, contexts in zip(self._kept, self._contexts, strict=True):
            outputs, x = dict(kept), kept[""]
            for name in self.rows[self._place : self.rows.index(last) + 1]:
                module = changed.get(name, self.model.get_submodule(name))
                if module is not None:
                    taps = (outputs[tap] for tap in self.model.spec[name].taps)
                    x = module(x, *taps, **contexts.get(name, {}))
                if name in self._tapped:
                    outputs[name] = x
            yield x

    def _run(self, batch: int) -> Tensor:
        assert self.row is not None
        kept = self._kept[batch]
        taps = (kept[tap] for tap in self.model.spec[self.row].taps)
        return self.model.get_submodule(self.row)(kept[""], *taps, **self._contexts[batch].get(self.row, {}))  # type: ignore[no-any-return]

    def _until(self, batch: int, path: str, *, before: bool) -> Tensor:
        assert self.row is not None
        part = self.model.get_submodule(f"{self.row}.{path}" if path else self.row)
        times, seen = self.repeats if path else 1, list[Tensor]()

        def look(module: Any, given: tuple[Tensor, ...], *y: Tensor) -> None:
            seen.append(given[0] if before else y[0])
            if len(seen) == times:
                raise _Reached(seen[0] if times == 1 else torch.cat(seen))

        hook = part.register_forward_pre_hook(look) if before else part.register_forward_hook(look)
        try:
            self._run(batch)
        except _Reached as reached:
            return reached.value
        finally:
            hook.remove()
        raise ValueError(f"The row {self.row!r} does not run its part {path!r}.")


class _Reached(Exception):
    """Ends the run of a row at the part that was asked for."""

    def __init__(self, value: Tensor) -> None:
        super().__init__()
        self.value = value


def _contexts(model: Model, batch: Batch) -> tuple[Tensor, dict[str, dict[str, Any]]]:
    """What the first row takes, and the keywords of every row that has some: they do not depend on the rows' values."""
    if isinstance(batch, Tensor) and not model.spec.input.ids:
        return batch, {}
    contexts: dict[str, dict[str, Any]] = {}
    first: list[Tensor] = []

    def look(name: str) -> Any:
        def note(module: Any, given: tuple[Tensor, ...], options: dict[str, Any]) -> None:
            if not first:
                first.append(given[0])
            contexts[name] = options

        return note

    hooks = [
        model.get_submodule(row.name).register_forward_pre_hook(look(row.name), with_kwargs=True) for row in model.spec
    ]
    try:
        answer(model, batch)
    finally:
        for hook in hooks:
            hook.remove()
    return first[0], contexts
