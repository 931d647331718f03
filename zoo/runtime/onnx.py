"""A network as standard ONNX: int8 ones in QuantizeLinear and DequantizeLinear, which every runtime knows.

The batch is free, the image size fixed.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch

from zoo.blocks.int8 import qdq
from zoo.blocks.int8.arithmetic import Edge, Size
from zoo.blocks.int8.execution import qdq_execution
from zoo.build import Model
from zoo.runtime import text
from zoo.runtime.needs import need
from zoo.runtime.quiet import quiet
from zoo.runtime.wired import each_layer
from zoo.spec import TextInput

OPSET = 18
INPUT, OUTPUT = "input", "output"


def write_onnx(model: Model, file: Path, size: Size) -> None:
    """Write `model` to `file`: for pictures of `size` (height, width), (batch, channels, *size) to its output.

    Of a language model `size` is left aside: batch and number of tokens are free, its tensors have the names of its
    call and of its answer.
    """
    need("onnx", "onnxscript")
    import onnx

    with torch.inference_mode(False), torch.no_grad():
        ready: torch.nn.Module = _settled(model)
    if isinstance(model.spec.input, TextInput):
        ready = text.NamedTensors(ready)  # type: ignore[arg-type]
        shapes: Any
        given, shapes, inputs, outputs = text.example(model, 2), ready.dynamic_shapes(), ready.inputs, ready.outputs
    else:
        given, shapes = (torch.zeros(2, model.spec.input.channels, *size),), ({0: torch.export.Dim("batch")},)
        inputs, outputs = [INPUT], [OUTPUT]
    with qdq_execution(), torch.inference_mode(False), torch.no_grad(), quiet("torch.onnx"):
        program = torch.onnx.export(
            ready,
            tuple(one.clone() for one in given),
            dynamo=True,
            dynamic_shapes=shapes,
            input_names=inputs,
            output_names=outputs,
            opset_version=OPSET,
            verbose=False,
        )
    assert program is not None
    proto = program.model_proto
    _give_zeros(proto)
    proto.producer_name, proto.doc_string = "zoo", model.spec.name
    onnx.save(proto, str(file))


def _settled(model: Model) -> Model:
    """A copy whose int8 layers have the biases that the export wants: integers on the scale of the products."""
    ready = copy.deepcopy(model).cpu().eval()

    def settle(part: Any, source: Edge, target: Edge | None) -> None:
        if hasattr(part, "weight"):
            part.weight, part.scale, part.bias = qdq.whole_bias(source, part.weight, part.scale, part.bias)

    each_layer(ready, settle)
    return ready


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
