"""Versions of ONNX's operators older than those that the export writes."""

from __future__ import annotations

from typing import Any

OPSET = 18  # what the export writes
OPSETS = range(13, 24)  # from the first that knows scales by channel


def check_opset(opset: object) -> None:
    if isinstance(opset, bool) or opset not in OPSETS:
        raise ValueError(f"opset= is a whole number from {OPSETS[0]} to {OPSETS[-1]}, not {opset!r}.")


def lower(proto: Any, opset: int) -> None:
    """Make `proto`, of opset 18, one of an older opset, in place. Raises ValueError where an operator is newer."""
    import onnx
    from onnx import numpy_helper

    constants = {one.name: one for one in proto.graph.initializer}
    for node in proto.graph.node:
        if node.op_type.startswith("Reduce"):  # the axes became an input with opset 18, those of ReduceSum with 13
            _drop(node, "noop_with_empty_axes")
            if node.op_type != "ReduceSum" and len(node.input) > 1:
                axes = numpy_helper.to_array(constants[node.input.pop()])
                node.attribute.append(onnx.helper.make_attribute("axes", axes.tolist()))
        elif node.op_type == "Split" and len(node.input) < 2:  # in equal parts, as many as there are outputs
            _drop(node, "num_outputs")
    for one in proto.opset_import:
        if not one.domain:
            one.version = opset
    for node in proto.graph.node:
        if not node.domain and not _is_known(node, opset):
            raise ValueError(f"opset {opset} is too old for {node.op_type}; take a newer one, up to {OPSETS[-1]}.")


def _is_known(node: Any, opset: int) -> bool:
    import onnx

    try:
        schema = onnx.defs.get_schema(node.op_type, opset, node.domain)
    except onnx.defs.SchemaError:
        return False
    return len(node.input) <= schema.max_input and {one.name for one in node.attribute} <= set(schema.attributes)


def _drop(node: Any, name: str) -> None:
    for one in [one for one in node.attribute if one.name == name]:
        node.attribute.remove(one)
