"""A network as standard ONNX: int8 ones in QuantizeLinear and DequantizeLinear, which every runtime knows.

The batch is free, the image size fixed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from zoo.engine.arithmetic import QParams, Size
from zoo.model.build import Model
from zoo.runtime.facts import facts
from zoo.runtime.needs import need
from zoo.runtime.numerics import qdq
from zoo.runtime.opset import OPSET, check_opset, lower
from zoo.runtime.quiet import quiet
from zoo.runtime.settle import settled
from zoo.runtime.signature import signature


def write_onnx(model: Model, file: Path, size: Size, *, opset: int = OPSET) -> None:
    """Write `model` to `file`: for pictures of `size` (height, width), (batch, channels, *size) to its output, or of a
    backbone to its maps.

    Of a language model `size` is left aside: batch and number of tokens are free, its tensors have the names of its
    call and of its answer. The file's metadata says what `facts` says.
    """
    need("onnx", "onnxscript", extra="onnx")
    import onnx

    check_opset(opset)
    with settled(model, qdq.QDQ, _settle) as copied, quiet("torch.onnx", "onnxscript"):
        ready = signature(copied, size)
        program = torch.onnx.export(
            ready.module,
            ready.example(2, size),
            dynamo=True,
            dynamic_shapes=ready.shapes(),
            input_names=ready.inputs,
            output_names=ready.outputs,
            opset_version=max(opset, OPSET),
            verbose=False,
        )
    assert program is not None
    proto = program.model_proto
    _give_zeros(proto)
    if opset < OPSET:
        lower(proto, opset)
    if opset not in [one.version for one in proto.opset_import if not one.domain]:
        raise ValueError(f"torch.onnx cannot write {model.spec.name} in opset {opset}; take another, such as {OPSET}.")
    proto.ir_version = onnx.helper.find_min_ir_version_for(proto.opset_import)
    proto.producer_name, proto.doc_string = "zoo", model.spec.name
    onnx.helper.set_model_props(proto, facts(model))
    onnx.save(proto, str(file))


def _settle(part: Any, source: QParams, target: QParams | None) -> None:
    """Give an int8 layer the biases that the export wants: integers on the scale of the products."""
    if hasattr(part, "weight"):
        part.weight, part.scale, part.bias = qdq.whole_bias(source, part.weight, part.scale, part.bias)


def _give_zeros(proto: Any) -> None:
    """Each of the weights' DequantizeLinear its own zero points: ONNX Runtime wants them, and not shared."""
    import numpy as np
    from onnx import numpy_helper

    tensors = {one.name: one for one in proto.graph.initializer}
    for node in proto.graph.node:
        del node.metadata_props[:]  # where each node came from in this program's text
        if node.op_type == "DequantizeLinear" and len(node.input) == 2:
            codes = numpy_helper.to_array(tensors[node.input[0]])
            zeros = numpy_helper.from_array(np.zeros(len(codes), codes.dtype), f"{node.output[0]}_zeros")
            proto.graph.initializer.append(zeros)
            node.input.append(zeros.name)
