"""Weights of 4 bits, as whole multiples of one scale for each output.

A group of `GROUP` inputs has a step and a shift, both whole: `real = scale * (step * (nibble - 8) + shift)`. So every
weight is an int8 code too, and what multiplies codes of 8 bits multiplies these without another rounding.

Shapes: O outputs, I inputs, G groups of them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from zoo.kinds import GROUP

WIDEST = 127
STEPS = 16  # the largest step: 15 of it reach from -WIDEST to WIDEST
MIDDLE = 8
_SHARES = (1.0, 0.92, 0.84, 0.76, 0.68)  # of a group's range that its 16 values are tried to span
_CUTS = (0.9, 0.8)  # of the largest weight of an output that the scale is tried to reach


def codes(weight: Tensor, step: Tensor, shift: Tensor, inputs: int) -> Tensor:
    """(O, G * GROUP / 2) bytes, (O, G) steps and (O, G) shifts to (O, I) codes, int8."""
    low, high = weight.bitwise_and(15), weight >> 4
    nibbles = torch.stack([low, high], -1).view(len(weight), -1, GROUP).to(torch.int16)
    whole = (nibbles - MIDDLE) * step[..., None].to(torch.int16) + shift[..., None].to(torch.int16)
    return whole.clamp(-WIDEST, WIDEST).to(torch.int8).flatten(1)[:, :inputs].contiguous()


def rounded(weight: Tensor) -> dict[str, Tensor]:
    """The nearest such weights to floats (O, I), by their keys: the least squared error of a few scales and ranges."""
    outputs, inputs = weight.shape
    groups = -(-inputs // GROUP)
    rest = weight[:, -1:].expand(-1, groups * GROUP - inputs)  # what fills the last group widens no range
    w = torch.cat([weight, rest], 1).float().view(outputs, groups, GROUP)
    low, high = w.amin(-1), w.amax(-1)
    largest = torch.maximum(w.abs().amax((1, 2)) / WIDEST, (high - low).amax(1) / (15 * STEPS)).clamp_min(1e-30)
    best = _at(w, low, high, largest)
    for cut in _CUTS:
        best = _better(_at(w, low, high, largest * cut), best)
    _, scale, step, shift, nibbles = best
    pairs = nibbles.to(torch.uint8).view(outputs, -1, 2)
    return {
        "weight": pairs[..., 0] | pairs[..., 1] << 4,
        "scale": scale,
        "step": step.to(torch.uint8),
        "shift": shift.to(torch.int8),
    }


def _at(w: Tensor, low: Tensor, high: Tensor, scale: Tensor) -> tuple[Tensor, ...]:
    """(squared error of each output, scale, step, shift, nibbles) with these scales (O,)."""
    w = w / scale[:, None, None]
    zeros = (w == 0).any(-1)
    most = torch.where(zeros, STEPS - 1, STEPS)
    low, high = low / scale[:, None], high / scale[:, None]
    best: tuple[Tensor, ...] = ()
    for share in _SHARES:
        step = ((high - low) * share / 15).round().clamp_min(1).minimum(most)
        shift = ((low + high) / 2 + step / 2).round()  # nibbles reach from -8 to 7 steps
        least, largest = MIDDLE * step - WIDEST, WIDEST - 7 * step
        shift = torch.minimum(torch.maximum(shift, least), largest)
        on_step = (shift / step).round().clamp(-7, MIDDLE).clamp((least / step).ceil(), (largest / step).floor()) * step
        shift = torch.where(zeros, on_step, shift)  # zeros stay zeros, as `sparse` makes them
        nibbles = ((w - shift[..., None]) / step[..., None]).round_().clamp_(-MIDDLE, 7)
        error = (nibbles * step[..., None] + shift[..., None] - w).square_().sum(-1)
        found = (error, step, shift, nibbles)
        best = _better(found, best) if best else found
    error, step, shift, nibbles = best
    return error.sum(1) * scale.square(), scale, step, shift, nibbles.add_(MIDDLE).flatten(1)


def _better(one: tuple[Tensor, ...], other: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Of each output or group, the one with the smaller error, which comes first."""
    choose = one[0] < other[0]
    return tuple(
        torch.where(choose.view(*choose.shape, *(1,) * (a.dim() - choose.dim())), a, b)
        for a, b in zip(one, other, strict=True)
    )
