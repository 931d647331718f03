"""`zoo.plan`: how to train a network on N devices."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from zoo.checks import check_whole, is_number
from zoo.planning.candidates import Prediction, Predictor
from zoo.planning.costs import Profile
from zoo.planning.cuts import spans
from zoo.planning.devices import Device, Link
from zoo.planning.result import Planned, volume, why
from zoo.planning.search import SAME, Search, cuts_of
from zoo.planning.units import read
from zoo.spec import ModelSpec

if TYPE_CHECKING:
    from zoo.model.build import Model

OPTIMIZERS = {"adamw": 2, "sgd": 1}  # -> states of each parameter; SGD has momentum
MOST_DEVICES = 1024


def plan(
    network: str | os.PathLike[str] | Model | ModelSpec,
    devices: int,
    *,
    batch: int = 256,
    memory: str | float | None = None,
    link: str | float = "10Gbps",
    latency: str | float = "50us",
    overlap: float | None = None,
    device_flops: str | float | None = None,
    device_memory_bandwidth: str | float | None = None,
    size: int | None = None,
    optimizer: str = "adamw",
    schema: Any = None,
    seconds: float = 6.0,
    report: Callable[[str], None] = lambda step: None,
) -> Planned:
    """Find the quickest way to train a network on several devices: data x pipeline x sharding, cuts, schedule.

    The rows' times are measured on this processor, or estimated from a device's numbers. The memory is counted.

    Args:
        network (str | path | Model | ModelSpec): a name, a saved network's folder or file, a network or a spec.
        devices (int): how many there are, 1 to 1024. A plan may use fewer.
        batch (int): examples of a step, on all devices together. Default: 256.
        memory (str | float | None): of each device, "8GB" or bytes. Default: None, no limit.
        link (str | float): between any two devices, in each direction, "10Gbps", "25GB/s" or bytes a second.
            Default: "10Gbps".
        latency (str | float): of a message, "50us" or seconds. Default: "50us".
        overlap (float | None): which share of a message goes on while the device computes, 0 to 1. Default: None, 1
            for estimated devices, 0 for processors that are measured here.
        device_flops (str | float | None): floating-point operations a second that a device reaches in large products,
            "60TFLOPS"; a multiply-accumulate counts two. Default: None, rows are measured here.
        device_memory_bandwidth (str | float | None): between a device and its memory, "1.5TB/s". Needed with
            `device_flops`. Default: None.
        size (int | None): height and width of pictures, or tokens of a text. Default: None, the network's own.
        optimizer (str): "adamw" or "sgd", with momentum. Default: "adamw".
        schema (TableInput | dict | path | None): what a recommender by name reads, as `zoo.create` takes it.
            Default: None.
        seconds (float): how long rows are measured. Default: 6.0.
        report (Callable[[str], None]): called with a line of text at each step. Default: does nothing.

    Returns:
        A `Planned`: `plan`, `chosen`, `others`, `why`, `timeline()`, `draw("timeline.png")`, `to_json()`.

    Raises:
        UnknownName: a name stands for no network.
        ValueError: an argument is out of range, the network does not train, or no plan fits: then it names the row
            that does not, and by how much.

    Example:
        >>> found = zoo.plan("resnet20", 4, device_flops="50TFLOPS", device_memory_bandwidth="1TB/s", link="25GB/s")
        >>> found.plan.data, found.plan.pipeline
        (4, 1)
    """
    check_whole("devices", devices, 1, MOST_DEVICES)
    check_whole("batch", batch, 1)
    if size is not None:
        check_whole("size", size, 1)
    if optimizer not in OPTIMIZERS:
        raise ValueError(f"optimizer= is one of {', '.join(OPTIMIZERS)}, not {optimizer!r}.")
    if not is_number(seconds) or seconds <= 0:
        raise ValueError(f"seconds= takes a number above 0, not {seconds!r}.")
    if (device_flops is None) != (device_memory_bandwidth is None):
        raise ValueError("device_flops= and device_memory_bandwidth= describe a device together: give both, or none.")
    device = None
    if device_flops is not None and device_memory_bandwidth is not None:
        flops = read("device_flops", device_flops, "flops")
        device = Device(flops, read("device_memory_bandwidth", device_memory_bandwidth, "bandwidth"))
    hidden = (0.0 if device is None else 1.0) if overlap is None else overlap
    joined = Link(read("link", link, "bandwidth"), read("latency", latency, "seconds"), hidden)
    room = float("inf") if memory is None else read("memory", memory, "bytes")
    spec, states = spec_of(network, schema), OPTIMIZERS[optimizer]
    from zoo.planning import profile as profiles

    if device is not None:
        report("counting the rows' operators")
        profile = profiles.estimated(spec, device, size=size, states=states)
    else:
        report("measuring rows")
        least = max(1, batch // (16 * devices))
        profile = profiles.measured(spec, batch, least, size=size, states=states, seconds=seconds)
    report("trying plans")
    return choose(profile, devices, batch, joined, room, optimizer)


def choose(profile: Profile, devices: int, batch: int, link: Link, memory: float, optimizer: str = "adamw") -> Planned:
    """The plan for a profile that is known. Raises ValueError where none fits."""
    predict = Predictor(profile, batch, link, memory)
    ranked = simplest_first(Search(predict, devices).best())
    if not ranked[0].fits:
        raise ValueError(_misfit(ranked[0], predict, devices))
    chosen = predict(ranked[0].plan, cuts_of(ranked[0].plan), timeline=True)
    others = tuple(ranked[1:])
    return Planned(
        profile.network,
        devices,
        batch,
        chosen,
        others,
        why(chosen, others, devices, memory),
        _assumed(predict, optimizer),
        profile.measured,
    )


def simplest_first(ranked: list[Prediction]) -> list[Prediction]:
    """The quickest first, or in its place the simplest of those that are as quick but for `SAME`."""
    close = [one for one in ranked if one.fits and one.seconds <= (1 + SAME) * ranked[0].seconds]
    if not close:
        return ranked
    first = min(close, key=lambda one: (one.plan.pipeline > 1, one.plan.devices > 1, one.plan.sharded, one.plan.tables))
    return [first, *(one for one in ranked if one is not first)]


def spec_of(network: Any, schema: Any = None) -> ModelSpec:
    """The spec of a name, of a saved network, or of a network."""
    from zoo import registry
    from zoo.catalog.listing import find, is_path
    from zoo.lazy import fetch

    if isinstance(network, ModelSpec):
        spec = network
    elif not isinstance(network, (str, os.PathLike)):
        found = getattr(network, "spec", None)
        if not isinstance(found, ModelSpec):
            raise fetch("zoo.model.build:not_a_model")("plan", network)
        spec = found
    elif is_path(network):
        spec = fetch("zoo.factory:open_model")(network).spec
    else:
        name, shipped = find(str(network))
        if (shipped is None and not name.passes) or schema is not None:
            options = {} if schema is None else {"schema": fetch("zoo.tabular.fresh:as_schema")(schema)}
            return registry.spec(name.arch, **options)
        spec = fetch("zoo.factory:open_model")(str(network)).spec
    if schema is not None:
        raise ValueError("schema= is for a recommender by its name, such as deepfm.")
    return spec


def _misfit(nearest: Prediction, predict: Predictor, devices: int) -> str:
    """Which row does not fit, and by how much, in the plan that needs least."""
    plan, profile = nearest.plan, predict.profile
    costs = predict.costs(predict.microbatch(plan))
    memory = nearest.simulation.memory
    fullest = memory.index(max(memory))
    ends = spans(cuts_of(plan), len(costs))[fullest :: plan.pipeline]
    across = plan.data if plan.sharded else 1

    def needs(at: int) -> float:
        row = costs.rows[at]
        shared = row.tables if plan.tables else 0.0
        held = (row.parameters - shared) / across + shared / plan.data
        return (2 + profile.states) * held + row.kept + row.work

    largest = max((at for first, last in ends for at in range(first, last)), key=needs)
    size = volume
    rows = len(range(*ends[0])) if len(ends) == 1 else sum(last - first for first, last in ends)
    beside = "" if rows == 1 else f", where it is with {rows - 1} other row{'s' * (rows != 2)}"
    return (
        f"No plan fits {profile.network} on {devices} device{'s' * (devices != 1)} of {size(predict.memory)}: row "
        f"{costs.rows[largest].name!r} needs {size(needs(largest))}. The plan that needs least ({plan.words}) takes "
        f"{size(nearest.memory)} on a device{beside}: {size(nearest.memory - predict.memory)} too much. Take more or "
        "larger devices, a smaller batch, or inputs of a smaller size."
    )


def _assumed(predict: Predictor, optimizer: str) -> str:
    profile, link = predict.profile, predict.link
    how = "measured on" if profile.measured else "estimated for"
    hidden = f"{link.overlap:.0%} of it hidden behind work" if link.overlap else "none of it hidden behind work"
    return (
        f"Times of rows {how} {profile.device}, float32, {optimizer}. Links of {link.bandwidth * 8 / 1e9:g} Gbit/s and "
        f"{link.latency * 1e6:g} us between any two devices, {hidden}. Reading data is not counted."
    )
