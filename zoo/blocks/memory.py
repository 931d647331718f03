"""How float networks use memory in inference: the format of the maps, activations that take no new map, large batches.

None of the three changes a value beyond the rounding of sums. Whatever trains, is traced or is watched by a hook runs
as it is written: the backward pass of a depthwise convolution is slower in channels_last.
"""

from collections.abc import Sequence

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor
from torch.nn.modules import module as torch_module

from zoo.blocks.wiring import CHAIN, Wiring, run

PART = 100_352  # pixels of input a thread in one part of a batch: two pictures of 224 x 224
_FEW = 256  # places of a batch's output
_LARGE = 2**19  # values of a weight: reordering them takes longer than computing a few places with them

_IN_PLACE = {
    nn.ReLU: F.relu_,
    nn.ReLU6: lambda x: F.relu6(x, inplace=True),
    nn.Hardswish: lambda x: F.hardswish(x, inplace=True),
    nn.SiLU: lambda x: F.silu(x, inplace=True),
}


def inferring(x: Tensor) -> bool:
    """Whether `x` is for plain inference on the CPU: float32 without gradients, tracing or torch.func."""
    return (
        not torch.is_grad_enabled()
        and x.device.type == "cpu"
        and x.dtype == torch.float32
        and not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()  # type: ignore[attr-defined]
        and torch._C._functorch.peek_interpreter_stack() is None
    )


def in_order(modules: Sequence[nn.Module], x: Tensor, wiring: Wiring = CHAIN) -> Tensor:
    """`x` through the modules, one after another; in inference a large batch in parts.

    Memory for maps of more than 32 MB comes from the system anew at every call, which can cost as much as the network,
    and smaller maps stay in the caches. What trains or has hooks sees the whole batch.
    """
    count = parts(modules, x, PART) if inferring(x) else 1
    if count > 1:
        return torch.cat([one_by_one(modules, part, wiring) for part in x.chunk(count)])
    return one_by_one(modules, x, wiring)


def one_by_one(modules: Sequence[nn.Module], x: Tensor, wiring: Wiring = CHAIN) -> Tensor:
    """`x` through the modules, whatever its size."""
    if wiring.kept:
        return run(modules, modules, x, wiring)
    for module in modules:
        x = module(x)
    return x


def parts(modules: Sequence[nn.Module], x: Tensor, pixels: int) -> int:
    """How many parts to make of maps (B, C, H, W), so that each thread has about so many pixels of one.

    One for what is elsewhere than on the CPU, and for what trains or has hooks, which see the whole batch.
    """
    if x.dim() != 4 or not x.numel() or x.device.type != "cpu":
        return 1
    whole = x.shape[0] * x.shape[2] * x.shape[3]
    count = min(-(-whole // (max(1, pixels) * torch.get_num_threads())), x.shape[0])
    return 1 if count <= 1 or any(m.training or any(map(watched, m.modules())) for m in modules) else count


def watched(module: nn.Module) -> bool:
    """Whether a hook of its own, or one of every module's, sees what the module takes or gives."""
    every = torch_module._global_forward_hooks or torch_module._global_forward_pre_hooks
    return bool(every or module._forward_hooks or module._forward_pre_hooks)


def arranged(x: Tensor) -> Tensor:
    """(B, C, H, W) in channels_last where a convolution is quicker with it; the layers behind keep that format."""
    return x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 and inferring(x) else x


def arranged_for(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """`x` in plain format where `conv` has few places for a large weight, which channels_last reorders at each call.

    The last stages of ResNets at small batches: a third less time than in channels_last. Elsewhere `x` itself.
    """
    if conv.weight.numel() < _LARGE or not inferring(x):
        return x
    places = x.shape[0] * x.shape[2] * x.shape[3]
    return x.contiguous() if places <= _FEW * conv.stride[0] * conv.stride[1] else x


def activate(act: nn.Module, x: Tensor, *made_by: nn.Module) -> Tensor:
    """`act(x)`, over `x` itself in inference. Nobody but hooks of the modules that made `x`, and of `act`, sees `x`."""
    in_place = _IN_PLACE.get(type(act))
    if in_place is None or act.training or not inferring(x) or any(map(watched, (act, *made_by))):
        return act(x)
    return in_place(x)
