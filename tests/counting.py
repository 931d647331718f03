"""Multiply-accumulates as they happen, for any module of convolutions, linear layers and attention."""

from __future__ import annotations

from typing import Any
from unittest import mock

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor


def counted_macs(model: nn.Module, *inputs: Tensor) -> int:
    """From the shapes that convolutions, products and attention see; on the meta device nothing is computed."""
    total = 0
    linear, attend = F.linear, F.scaled_dot_product_attention

    def count_window(module: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        total += output.numel() * module.weight[0].numel()

    def count_linear(x: Tensor, weight: Tensor, *rest: Any) -> Tensor:
        nonlocal total
        total += x.numel() * len(weight)
        return linear(x, weight, *rest)

    def count_attention(q: Tensor, k: Tensor, v: Tensor, *rest: Any, **options: Any) -> Tensor:
        nonlocal total
        total += q.numel() * k.shape[-2] * 2
        return attend(q, k, v, *rest, **options)

    handles = [m.register_forward_hook(count_window) for m in model.modules() if isinstance(m, nn.Conv2d)]
    attention = mock.patch.object(F, "scaled_dot_product_attention", count_attention)
    with torch.inference_mode(), mock.patch.object(F, "linear", count_linear), attention:
        model(*inputs)
    for handle in handles:
        handle.remove()
    return total
