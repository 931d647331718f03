"""Which outputs each row of a network takes beside that of the row before it, and how a network so wired runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn as nn
from torch import Tensor

INPUT = -1  # the place of the network's input


@dataclass(frozen=True)
class Wiring:
    """Rows are numbered by their places; the network's input has the place `INPUT`.

    `taps` are, for each row, the places whose outputs it takes too; empty where no row taps. `kept` are all places that
    some row taps, and `done` those that no row behind the row taps. `coded` are the rows that take codes as they are.
    """

    taps: tuple[tuple[int, ...], ...] = ()
    kept: frozenset[int] = frozenset()
    done: tuple[tuple[int, ...], ...] = ()
    coded: frozenset[int] = frozenset()

    @staticmethod
    def of(names: Sequence[str], taps: Sequence[Sequence[str]], coded: Iterable[int] = ()) -> Wiring:
        """Of rows in order: their names, and the names that each taps, "input" for the network's input."""
        places = {name: place for place, name in enumerate(names)} | {"input": INPUT}
        tapped = tuple(tuple(places[name] for name in row) for row in taps)
        last = {place: at for at, row in enumerate(tapped) for place in row}
        if not last:
            return CHAIN
        done = tuple(tuple(place for place, at in last.items() if at == row) for row in range(len(tapped)))
        return Wiring(tapped, frozenset(last), done, frozenset(coded))

    def keeping(self, places: Iterable[int]) -> Wiring:
        """The same, with the outputs at these places kept to the end too."""
        wanted = frozenset(places)
        done = tuple(tuple(place for place in row if place not in wanted) for row in self.done)
        return replace(self, kept=self.kept | wanted, done=done)


CHAIN = Wiring()  # every row takes the output of the row before it, and nothing else


def run(
    calls: Sequence[Callable[..., Tensor]],
    modules: Sequence[nn.Module],
    x: Tensor,
    wiring: Wiring,
    kept: dict[int, Tensor] | None = None,
) -> Tensor:
    """`x` through `calls`, one for each of `modules`, as they are wired. `kept` receives what is kept to the end.

    Codes that an int8 row hands to the row behind it are read for whoever taps them and takes floats.
    """
    held: dict[int, Tensor] = {INPUT: x} if INPUT in wiring.kept else {}
    for place, call in enumerate(calls):
        if wiring.taps and (taps := wiring.taps[place]):
            coded = place in wiring.coded
            x = call(x, *(held[tap] if coded else _floats(modules, tap, held[tap]) for tap in taps))
        else:
            x = call(x)
        if wiring.done:
            for tap in wiring.done[place]:
                held.pop(tap, None)
        if place in wiring.kept:
            held[place] = x.clone() if x.dtype == torch.uint8 else x  # the row behind may write over codes
    if kept is not None:
        kept |= {place: _floats(modules, place, value) for place, value in held.items()}
    return x


def _floats(modules: Sequence[nn.Module], place: int, x: Tensor) -> Tensor:
    return x if x.dtype != torch.uint8 else modules[place].dequantize(x)  # type: ignore[operator, no-any-return]
