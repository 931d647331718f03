"""Whether a training computes in bfloat16."""

from __future__ import annotations

import torch

from zoo.model.build import Model
from zoo.train.recipe import Recipe


def uses_bfloat16(model: Model, recipe: Recipe) -> bool:
    """The recipe's choice; without one, whether the device multiplies in bfloat16 and no row rounds as int8 does."""
    if recipe.bfloat16 is not None:
        return recipe.bfloat16
    if any(row.precision == "qat" for row in model.spec):
        return False
    return computes_in_bfloat16(next(model.parameters()).device)


def computes_in_bfloat16(device: torch.device) -> bool:
    """Whether `device` multiplies in bfloat16, rather than only storing it."""
    if device.type == "cpu":
        return bool(torch.cpu.get_capabilities().get("avx512_bf16", False))
    return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
