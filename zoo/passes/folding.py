"""Weights with batch norm folded in, and back: what a layer computes is `weight * x + bias`."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from zoo import kinds

LEAST_FACTOR = 1e-3  # of the largest of its layer: a weight divided by less would be all rounding


def folded(state: Mapping[str, Tensor], prefix: str, layer: kinds.Layer, eps: float) -> tuple[Tensor, Tensor]:
    """(weight, bias) in float32 of the layer at `prefix`, such as "s2_1.expand."; a bias of zeros where it has none.

    `eps` is the row's argument, 0.0 where it has none.
    """
    if not layer.norm:
        weight = state[f"{prefix}weight"].float().clone()
        return weight, state[f"{prefix}bias"] if layer.bias else weight.new_zeros(len(weight))
    weight = state[f"{prefix}conv.weight"]
    factor, shift = _norm(state, prefix, eps)
    return (weight.double() * by_channel(factor, weight)).float(), shift.float()


def unfolded(
    state: Mapping[str, Tensor], prefix: str, layer: kinds.Layer, eps: float, weight: Tensor, bias: Tensor
) -> dict[str, Tensor]:
    """The entries of the state with which the layer computes that folded `weight` and `bias`; the inverse of `folded`.

    `state` holds the batch norm to keep, at the width of `weight`. Where its factor is next to nothing, the factor
    becomes 1. Raises ValueError for a bias that a layer without one would need.
    """
    weight, bias = weight.double(), bias.double()
    if not layer.norm:
        if not layer.bias and bool(bias.any()):
            raise ValueError(f"The layer at {prefix!r} has no bias to hold {tuple(bias.shape)} values.")
        solved = {f"{prefix}weight": weight.float()}
        return {**solved, f"{prefix}bias": bias.float()} if layer.bias else solved
    factor, _ = _norm(state, prefix, eps)
    small = factor.abs() <= LEAST_FACTOR * factor.abs().max()
    factor = torch.where(small, torch.ones_like(factor), factor)
    mean, var = (state[f"{prefix}bn.running_{name}"].double() for name in ("mean", "var"))
    gamma = torch.where(small, (var + eps).sqrt(), state[f"{prefix}bn.weight"].double())
    return {
        f"{prefix}conv.weight": (weight / by_channel(factor, weight)).float(),
        f"{prefix}bn.weight": gamma.float(),
        f"{prefix}bn.bias": (bias + mean * factor).float(),
    }


def by_channel(factor: Tensor, weight: Tensor) -> Tensor:
    """(O,) to a shape that multiplies weights (O, ...)."""
    return factor.view(-1, *[1] * (weight.dim() - 1))


def _norm(state: Mapping[str, Tensor], prefix: str, eps: float) -> tuple[Tensor, Tensor]:
    """What batch norm multiplies by and what it adds, in float64."""
    gamma, beta, mean, var = (
        state[f"{prefix}bn.{part}"].double() for part in ("weight", "bias", "running_mean", "running_var")
    )
    factor = gamma / (var + eps).sqrt()
    return factor, beta - mean * factor
