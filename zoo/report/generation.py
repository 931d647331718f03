"""Tokens a second of decoders, one prompt at a time, beside the speed at which memory gives the weights."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn as nn

from zoo import kinds
from zoo.model.build import Model

PROMPT, NEW = 16, 48  # tokens of a round, where the network has positions for them


@dataclass(frozen=True)
class Generation:
    """How fast a decoder continues one text.

    Attributes:
        name (str): the network's name or path.
        tokens (float): tokens a second: the median of the steps behind a prompt of 16 tokens.
        read (int): bytes of weights that a token reads, as they are held in memory here.
        bandwidth (float): bytes a second at which the same threads read as many bytes, in one sum of floats.
        share (float): `read * tokens / bandwidth`: 1 where a token takes the time of reading the weights.
    """

    name: str
    tokens: float
    read: int
    bandwidth: float
    share: float


def generates(model: Any) -> bool:
    """Whether the model continues texts: another runtime's does not."""
    return isinstance(model, Model) and hasattr(model, "stream") and kinds.head(model.spec) is not None


@torch.inference_mode()
def measure(models: Sequence[tuple[str, Any]], seconds: float) -> tuple[Generation, ...]:
    """Decoders by turns, for about so many seconds; at least one round of each."""
    steps: list[list[float]] = [[] for _ in models]
    read = [bytes_read(model) for _, model in models]
    speeds = [0.0 for _ in models]
    end = time.perf_counter() + seconds
    while True:
        for place, (_, model) in enumerate(models):
            speeds[place] = max(speeds[place], bandwidth(read[place]))
            steps[place] += step_times(model)
        if time.perf_counter() >= end:
            break
    found = []
    for (name, _), times, amount, speed in zip(models, steps, read, speeds, strict=True):
        tokens = 1 / statistics.median(times)
        found.append(Generation(name, tokens, amount, speed, amount * tokens / speed))
    return tuple(found)


def step_times(model: Any, new: int = NEW) -> list[float]:
    """Seconds of each step behind a prompt; the first, which packs weights, is left out."""
    length = model.spec.texts.length
    prompt = torch.arange(max(1, min(PROMPT, length // 2)))[None] % model.spec.texts.vocabulary
    times, before = [], 0.0
    for place, _ in enumerate(model.stream(prompt, max_new_tokens=new, stop_tokens=())):
        now = time.perf_counter()
        if place > 1:
            times.append(now - before)
        before = now
    return times or [time.perf_counter() - before]


def bytes_read(model: Model) -> int:
    """Bytes of weights that a step reads: all but tables that are looked up alone."""
    tied = {kinds.arguments(row).get("tied") for row in model.spec}
    total = 0
    for row, module in zip(model.spec, model.children(), strict=True):
        for part in module.modules():
            table = isinstance(part, nn.Embedding) or getattr(part, "is_table", False)
            if table and not (row.name in tied and part is getattr(module, "tokens", None)):
                continue
            held = getattr(part, "bytes_read", None)
            own = (*part.parameters(recurse=False), *part.buffers(recurse=False))
            total += held() if held is not None else sum(one.nbytes for one in own)
    return total


def bandwidth(amount: int) -> float:
    """Bytes a second of reading `amount` bytes, the best of a few times."""
    numbers = torch.ones(max(1, amount // 4))
    best = float("inf")
    for _ in range(4):
        start = time.perf_counter()
        numbers.sum()
        best = min(best, time.perf_counter() - start)
    return 4 * len(numbers) / best
