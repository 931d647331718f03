"""Whether a training computes in bfloat16.

On a CPU with AVX512's bfloat16 alone, convolutions gain from it. Linear layers lose: autocast converts their weights
at every step. An encoder of MiniLM's size took 1.9 times as long, a small translator 1.4 times (batches of 32 and 64).
"""

from __future__ import annotations

import torch

from zoo.model.build import Model
from zoo.train.recipe import Recipe


def uses_bfloat16(model: Model, recipe: Recipe) -> bool:
    """The recipe's choice; without one, whether bfloat16 is quicker and no row rounds as int8 does."""
    if recipe.bfloat16 is not None:
        return recipe.bfloat16
    if any(row.precision == "qat" for row in model.spec):
        return False
    device = next(model.parameters()).device
    return computes_in_bfloat16(device) and (device.type != "cpu" or has_tiles() or _convolves(model))


def has_tiles() -> bool:
    """Whether this CPU multiplies tiles of bfloat16 (AMX), which is quicker for linear layers too."""
    return bool(torch.cpu.get_capabilities().get("amx_bf16", False))


def _convolves(model: Model) -> bool:
    """Whether most weights are those of convolutions."""
    sizes = [(weight.ndim == 4, weight.numel()) for weight in model.parameters()]
    return 2 * sum(size for kernel, size in sizes if kernel) > sum(size for _, size in sizes)


def computes_in_bfloat16(device: torch.device) -> bool:
    """Whether `device` multiplies in bfloat16, rather than only storing it."""
    if device.type == "cpu":
        return bool(torch.cpu.get_capabilities().get("avx512_bf16", False))
    return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
