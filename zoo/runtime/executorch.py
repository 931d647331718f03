"""A network as an ExecuTorch program for XNNPACK, whose int8 layers run in integers."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from zoo.engine.arithmetic import QParams, Size
from zoo.engine.int8.layer import Int8Layer
from zoo.engine.int8.squeeze_excite import Int8SqueezeExcite
from zoo.model.build import Model
from zoo.runtime.needs import need
from zoo.runtime.numerics.decomposed import DECOMPOSED, zero_points
from zoo.runtime.quiet import quiet
from zoo.runtime.settle import settled
from zoo.runtime.signature import signature


def write_program(model: Model, file: Path, size: Size) -> None:
    """Write `model` to `file`, for one picture of `size` (height, width) at a time."""
    file.write_bytes(program_of(model, (torch.zeros(1, *model.spec.input.shape(tuple(size))),)))


def program_of(model: Model, given: tuple[Tensor, ...]) -> bytes:
    """The contents of a .pte file that answers for inputs of the shapes of `given`."""
    need("executorch", extra="executorch")
    with quiet("torch.utils._pytree"), settled(model, DECOMPOSED, _settle) as ready:
        import_module("torch.ao.quantization.fx._decomposed")  # the operators
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import to_edge_transform_and_lower

        whole = signature(ready, tuple(given[0].shape[2:])).module
        channels = [len(module.scale) for module in ready.modules() if isinstance(module, Int8Layer)]
        with zero_points(channels):
            exported = torch.export.export(whole, given)
        _make_signed(exported.graph_module)
        lowered = to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()])
        return bytes(lowered.to_executorch().buffer)


def _settle(part: Any, source: QParams, target: QParams | None) -> None:
    """Give an int8 layer what XNNPACK wants of it."""
    if isinstance(part, Int8SqueezeExcite):  # linear layers on one position
        for layer in (part.reduce, part.expand):
            layer.weight = layer.weight.flatten(1)
    elif target is None and not part.linear:  # XNNPACK has no integer convolution to floats
        part.weight = part.weight.float() * part.scale.view(-1, 1, 1, 1)


def _make_signed(graph_module: torch.fx.GraphModule) -> None:
    """XNNPACK knows int8 only: the codes less 128. Nor may anything stand between them and their operators."""
    operators = torch.ops.quantized_decomposed
    by_edge = (operators.quantize_per_tensor.default, operators.dequantize_per_tensor.default)
    graph = graph_module.graph
    for node in list(graph.nodes):
        if node.op == "call_function" and node.target in by_edge:
            x, scale, zero, *_ = node.args
            node.args = (_source(x), scale, zero - 128, -128, 127, torch.int8)
    graph.eliminate_dead_code()
    graph_module.recompile()


def _source(x: Node) -> Node:
    """What a tensor is a copy of, in another memory format or none."""
    while x.target in (torch.ops.aten.contiguous.default, torch.ops.aten.clone.default):
        (x,) = x.all_input_nodes
    return x
