"""The costs of a network's rows: measured on this processor, or estimated for a device that is not at hand."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from zoo import formatting
from zoo.kinds import cost
from zoo.model.build import Model, build
from zoo.planning.costs import Costs, Profile
from zoo.planning.devices import Device
from zoo.planning.ledger import Ledger
from zoo.planning.observed import backward_seconds, costs_of, observe, timed
from zoo.report.memory import physical
from zoo.report.timing import cpu_name
from zoo.spec import ModelSpec, SpecError

SECONDS = 6.0  # of measuring
_STEPS = (3, 25)  # the fewest and the most that are timed at a batch
_TRAINED = ("float32", "qat")
_ESTIMATED = (2, 8)  # batches; bytes and products grow evenly between and beyond them


def estimated(spec: ModelSpec, device: Device, *, size: int | None = None, states: int = 2) -> Profile:
    """What the rows would cost on a device, by their products and bytes: operator by operator, without computing."""
    check_trains(spec)
    model = build(spec, device="meta").train()
    points, shares = list[Costs](), None
    for batch in reversed(_ESTIMATED):
        x = spec.input.example(batch, size).to("meta")
        points.insert(0, costs_of(model, x, Ledger(device), shares))
        shares = _shares(points[0])
    update = (3 + 2 * states) / device.memory_bandwidth  # reads all of them, and writes all but the gradient
    words = f"a device of {device.flops / 1e12:g} TFLOPS and {device.memory_bandwidth / 1e9:g} GB/s"
    return Profile(spec.name, tuple(points), update, states, False, words, least_batch(spec, size))


def measured(
    spec: ModelSpec,
    most: int,
    least: int = 1,
    *,
    size: int | None = None,
    states: int = 2,
    seconds: float = SECONDS,
    device: torch.device | None = None,
    bfloat16: Callable[[Model], bool] = lambda model: False,
) -> Profile:
    """What the rows cost on this processor, with the threads that torch uses, at batches from `least` to `most`.

    Larger batches than fit into the time are not measured: costs beyond them grow as between the largest two. `device`
    is a GPU to measure on in the processor's place; `bfloat16` says whether the network computes in it there.
    """
    check_trains(spec)
    device = device or torch.device("cpu")
    needed = 4 * (2 + states) * cost(spec).parameters
    if device.type == "cpu" and (there := physical()) is not None and needed > there:
        raise ValueError(
            f"{spec.name} takes {formatting.size(needed)} to train, and this machine has {formatting.size(there)}: "
            "give device_flops= and device_memory_bandwidth= of the devices, so that costs are estimated."
        )
    model = build(spec).train().to(device)
    points, updates, shares = list[Costs](), list[float](), None
    fewest = least_batch(spec, size)
    batch, began = max(least, min(fewest, most)), time.perf_counter()
    # Uncached, as every pass of a training casts the weights anew.
    with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16(model), cache_enabled=False):
        while True:
            x = spec.input.example(batch, size).to(device)
            costs = costs_of(model, x, Ledger(), shares or [0.5] * len(spec.rows))
            start = time.perf_counter()
            observe(model, x)
            each = time.perf_counter() - start
            left = seconds - (time.perf_counter() - began)
            passes = min(max(_STEPS[0], int(left / 4 / max(each, 1e-6))), _STEPS[1])
            forward, backward, update = timed(model, x, passes, states)
            if shares is None:
                shares = _measured_shares(model, x, backward)
            points.append(_timed(costs, forward, backward, shares))
            updates.append(update)
            spent = time.perf_counter() - began
            if batch == most or spent + 2 * each * (_STEPS[0] + 3) > seconds:
                break
            batch = min(2 * batch, most)
    parameters = points[0].total("parameters")
    threads = torch.get_num_threads()
    words = f"{cpu_name()}, {threads} thread{'s' * (threads != 1)}"
    if device.type != "cpu":
        words = torch.cuda.get_device_name(device)
    return Profile(spec.name, tuple(points), updates[-1] / max(parameters, 1.0), states, True, words, fewest)


def least_batch(spec: ModelSpec, size: int | None) -> int:
    """1, or 2 for a network that normalises single values of a batch, which torch refuses for one example."""
    model = build(spec, device="meta").train()
    try:
        with torch.no_grad():
            model(spec.input.example(1, size).to("meta"))
    except ValueError:
        return 2
    return 1


def check_trains(spec: ModelSpec) -> None:
    """Raise SpecError for rows that do not learn."""
    other = next((row for row in spec if row.precision not in _TRAINED), None)
    if other is not None:
        raise SpecError(f"Row {other.name!r} is in {other.precision}, which does not train: plan the float32 network.")


def _shares(costs: Costs) -> list[float]:
    return [row.backward_input / row.backward if row.backward else 0.0 for row in costs.rows]


def _measured_shares(model: Model, x: Tensor, backward: list[float]) -> list[float]:
    """How much of each row's backward pass is for the gradient of its input."""
    found = [backward_seconds(observe(model, x, input_only=True)[1], len(backward)) for _ in range(_STEPS[0])]
    alone = [statistics.median(one.get(place, 0.0) for one in found) for place in range(len(backward))]
    return [min(1.0, one / both) if both else 0.0 for one, both in zip(alone, backward, strict=True)]


def _timed(costs: Costs, forward: list[float], backward: list[float], shares: list[float]) -> Costs:
    rows = tuple(
        replace(row, forward=ahead, backward_input=share * back, backward_weight=(1 - share) * back)
        for row, ahead, back, share in zip(costs.rows, forward, backward, shares, strict=True)
    )
    return replace(costs, rows=rows)
