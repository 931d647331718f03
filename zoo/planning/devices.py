"""Devices and the links between them, and the time that collectives take on a link."""

from __future__ import annotations

import math
from dataclasses import dataclass

from zoo.checks import is_number


@dataclass(frozen=True)
class Device:
    """What computes. Peak numbers are not reached: give what large products and copies get.

    Args:
        flops (float): floating-point operations a second; a multiply-accumulate counts two.
        memory_bandwidth (float): bytes a second between the device and its memory.
        overhead (float): seconds that each operator takes at least. Default: 4e-6, the launch of a GPU's kernel.
    """

    flops: float
    memory_bandwidth: float
    overhead: float = 4e-6

    def __post_init__(self) -> None:
        _check("device", self, zero=("overhead",))


@dataclass(frozen=True)
class Link:
    """What joins each device to the others: all links are alike, and each device sends and receives at once.

    Args:
        bandwidth (float): bytes a second in each direction.
        latency (float): seconds of a message, however short. Default: 20e-6.
        overlap (float): which share of a transfer goes on while the device computes, 0 to 1. Default: 1.0, as on GPUs;
            gloo's threads on processors that all compute hide nothing, 0.0.
    """

    bandwidth: float
    latency: float = 20e-6
    overlap: float = 1.0

    def __post_init__(self) -> None:
        _check("link", self, zero=("latency", "overlap"))
        if self.overlap > 1:
            raise ValueError(f"overlap of a link is a share, 0 to 1, not {self.overlap!r}.")

    def send(self, size: float) -> float:
        """Seconds of one message of `size` bytes to one other device."""
        return self.latency + size / self.bandwidth if size else 0.0

    def all_gather(self, size: float, processes: int) -> float:
        """Seconds until each of the processes has all `size` bytes, of which each had its share: a ring."""
        if processes < 2 or not size:
            return 0.0
        return (processes - 1) * (self.latency + size / processes / self.bandwidth)

    reduce_scatter = all_gather  # the same ring
    all_to_all = all_gather  # each gives each other one its share of `size` bytes

    def all_reduce(self, size: float, processes: int) -> float:
        """Seconds until each of the processes has the sum of `size` bytes: a ring, or for few bytes a double tree."""
        if processes < 2 or not size:
            return 0.0
        ring = 2 * self.all_gather(size, processes)
        tree = 2 * (math.ceil(math.log2(processes)) * self.latency + size / self.bandwidth)
        return min(ring, tree)

    def exposed(self, transfer: float, compute: float) -> float:
        """Seconds of a transfer that are not hidden behind `compute` seconds of work."""
        return transfer - self.overlap * min(transfer, compute)


def _check(what: str, one: object, zero: tuple[str, ...]) -> None:
    for name, value in vars(one).items():
        least = name in zero
        if not is_number(value) or value < 0 or (value == 0 and not least):
            raise ValueError(f"{name} of a {what} is a number {'from 0 on' if least else 'above 0'}, not {value!r}.")
