"""Watches a step of training row by row: by the clock, or on no device by counting bytes and products.

A step is the forward pass, the loss, the backward pass and the optimizer's step, with random inputs. Hooks note time
and memory where one row ends and the next begins, so the rows add up to the whole step.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from zoo import tasks
from zoo.kinds import KINDS, arguments
from zoo.model.build import Model
from zoo.planning.costs import Costs, RowCost, wiring
from zoo.planning.ledger import Ledger

CLOCK: Callable[[], float] = time.perf_counter  # a benchmark on a busy machine may take time.process_time


def now(device: torch.device | None) -> float:
    """Seconds by the clock, behind all that a GPU has been given to do."""
    if device is not None and device.type == "cuda":
        torch.cuda.synchronize(device)
    return CLOCK()


def device_of(model: nn.Module) -> torch.device | None:
    return next((one.device for one in model.parameters()), None)


@dataclass(frozen=True)
class Mark:
    """A moment of a step: `place` is the row that begins (backward) or has ended (forward)."""

    place: int
    seconds: float
    live: int
    peak: int


class Watch:
    """Notes when the rows of a network begin and end. `ledger` has the memory and, without a processor, the time."""

    def __init__(self, model: Model, ledger: Ledger | None) -> None:
        self.modules, self.ledger, self.device = list(model.children()), ledger, device_of(model)
        self.forward, self.backward = list[Mark](), list[Mark]()
        self.sizes = [0] * len(self.modules)

    def note(self, place: int) -> Mark:
        if self.ledger is None:
            return Mark(place, now(self.device), 0, 0)
        mark = Mark(place, self.ledger.seconds, self.ledger.live, self.ledger.peak)
        self.ledger.peak = self.ledger.live
        return mark

    @contextmanager
    def watching(self) -> Iterator[None]:
        handles = [
            module.register_forward_hook(self._hook(place), with_kwargs=True)
            for place, module in enumerate(self.modules)
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _hook(self, place: int) -> Callable[..., None]:
        def ended(module: nn.Module, args: Any, kwargs: Any, out: Any) -> None:
            self.sizes[place] = out.numel() * out.element_size()
            if out.requires_grad and not any(out is one for one in args):  # a branch gives what it taps
                out.register_hook(lambda gradient: self.backward.append(self.note(place)))
            self.forward.append(self.note(place))

        return ended


def loss_of(model: Model, out: Any) -> Tensor:
    """A cross-entropy of the network's scores with classes that stand for the targets."""
    answer: Tensor = getattr(out, "answer", out)
    if answer.dim() < 2:
        return answer.float().square().mean()
    scores: Tensor = tasks.of(model.spec).scores(answer.float())
    if scores.shape[-1] == 1:
        return F.binary_cross_entropy_with_logits(scores, torch.zeros_like(scores))
    return F.cross_entropy(scores, torch.zeros(len(scores), dtype=torch.int64, device=scores.device))


def optimizer_of(model: nn.Module, states: int) -> torch.optim.Optimizer:
    """AdamW for two states of each parameter, SGD with momentum for one, SGD for none; the rate changes nothing."""
    if states == 2:
        return torch.optim.AdamW(model.parameters(), lr=1e-9)
    return torch.optim.SGD(model.parameters(), lr=1e-9, momentum=0.9 if states else 0.0)


def observe(
    model: Model, x: Tensor, *, ledger: Ledger | None = None, input_only: bool = False
) -> tuple[list[Mark], list[Mark], Watch]:
    """One forward and backward pass: the marks of both, each with one of its begin.

    With `input_only` the backward pass makes the gradients of inputs alone.
    """
    watch = Watch(model, ledger)
    parameters = [one for one in model.parameters() if one.requires_grad]
    handle = None
    if input_only:
        first = next(module for module in model.children() if next(module.parameters(), None) is not None)
        handle = first.register_forward_hook(lambda module, args, out: out.requires_grad_())
        model.requires_grad_(False)
    try:
        with watch.watching(), ledger or nullcontext():
            start = watch.note(-1)
            loss = loss_of(model, model(x))
            last = watch.note(len(watch.modules))
            loss.backward()  # type: ignore[no-untyped-call]
            del loss
            end = watch.note(-1)
    finally:
        if handle is not None:
            handle.remove()
        for one in parameters:
            one.requires_grad_(True)
    return [start, *watch.forward, last], [last, *watch.backward, end], watch


def forward_seconds(marks: Sequence[Mark], rows: int) -> dict[int, float]:
    """What runs until a row has ended is the row's; the loss is the last row's."""
    found: dict[int, float] = {}
    for before, now in pairwise(marks):
        place = min(now.place, rows - 1)
        found[place] = found.get(place, 0.0) + now.seconds - before.seconds
    return found


def backward_seconds(marks: Sequence[Mark], rows: int) -> dict[int, float]:
    """What runs from the gradient of a row's output to the next one's is the row's; the loss is the last row's."""
    found: dict[int, float] = {}
    for now, after in pairwise(marks):
        place = min(now.place, rows - 1)
        found[place] = found.get(place, 0.0) + after.seconds - now.seconds
    return found


def costs_of(model: Model, x: Tensor, ledger: Ledger, shares: Sequence[float] | None = None) -> Costs:
    """The rows' costs at the batch of `x`: memory as the ledger counts it, and time as it estimates it.

    `shares` says how much of each row's backward pass is for the gradient of its input; without, it is estimated too.
    """
    spec, rows = model.spec, list(model.children())
    for one in model.parameters():  # gradients belong to the parameters, not to the row's passing work
        one.grad = torch.zeros_like(one)
    ledger.known_already(model, x)
    going, coming, watch = observe(model, x, ledger=ledger)
    model.zero_grad(set_to_none=True)
    forward, backward = forward_seconds(going, len(rows)), backward_seconds(coming, len(rows))
    if shares is None:
        alone = backward_seconds(observe(model, x, ledger=ledger, input_only=True)[1], len(rows))
        shares = [min(1.0, alone.get(at, 0.0) / backward[at]) if backward.get(at) else 0.0 for at in range(len(rows))]
    kept, work = _memory(going, coming, len(rows))
    found = []
    for place, (row, module, share) in enumerate(zip(spec, rows, shares, strict=True)):
        both, size = backward.get(place, 0.0), watch.sizes[place]
        tables = 4 * sum(one.rows * one.width for one in KINDS[row.kind].tables(arguments(row)))
        found.append(
            RowCost(
                row.name,
                forward=forward.get(place, 0.0),
                backward_input=share * both,
                backward_weight=(1 - share) * both,
                kept=kept[place],
                work=work[place],
                output=size,
                parameters=sum(one.numel() * one.element_size() for one in module.parameters()),
                tables=tables,
                asked=size if tables else 0,
            )
        )
    dropped = [KINDS[row.kind].branches or KINDS[row.kind].takes_targets for row in spec]
    return Costs(tuple(found), len(x), *wiring(spec, dropped), x.numel() * x.element_size())


def _memory(going: Sequence[Mark], coming: Sequence[Mark], rows: int) -> tuple[list[float], list[float]]:
    """(what each row's forward pass leaves, what its passes take beside); the loss is the last row's."""
    kept, work = [0.0] * rows, [0.0] * rows
    for before, now in pairwise(going):
        place = min(now.place, rows - 1)
        kept[place] += now.live - before.live
        work[place] = max(work[place], now.peak - max(now.live, before.live))
    for now, after in pairwise(coming):
        place = min(now.place, rows - 1)
        work[place] = max(work[place], after.peak - now.live)
    return kept, work


def timed(model: Model, x: Tensor, passes: int, states: int) -> tuple[list[float], list[float], float]:
    """(seconds of each row's forward pass, of its backward pass, of the optimizer's step): medians of `passes`."""
    count, device = len(list(model.children())), device_of(model)
    optimizer = optimizer_of(model, states)
    going, coming, updates = list[dict[int, float]](), list[dict[int, float]](), list[float]()
    for _ in range(passes + 1):
        optimizer.zero_grad(set_to_none=True)
        forward, backward, _watch = observe(model, x)
        start = now(device)
        optimizer.step()
        updates.append(now(device) - start)
        going.append(forward_seconds(forward, count))
        coming.append(backward_seconds(backward, count))
    going, coming, updates = going[1:], coming[1:], updates[1:]  # the first is slower
    return _medians(going, count), _medians(coming, count), statistics.median(updates)


def _medians(passes: Sequence[dict[int, float]], rows: int) -> list[float]:
    """The median of each row, scaled so that they add up to the median pass: what is slow differs from pass to pass."""
    found = [statistics.median(one.get(place, 0.0) for one in passes) for place in range(rows)]
    whole = statistics.median(sum(one.values()) for one in passes)
    return [one * whole / sum(found) for one in found] if sum(found) else found
