"""Sums of residual blocks inside OpenVINO's convolutions.

An int8 residual block rounds once, behind its sum. Its ONNX form rounds before it too, since ONNX Runtime convolves in
integers only between codes. OpenVINO does not need that, so what it reads is put back to the network's own roundings.
But its CPU plugin keeps a sum inside the convolution only where the products are rounded before it, and otherwise
writes them as floats for a second pass. So they are rounded there, to steps thousands of times finer than the block's
own: one pass, and the same codes but for ties.
"""

from __future__ import annotations

from typing import Any

import numpy as np

LEVELS = 1 << 20  # not one of OpenVINO's own numbers of levels: it would make integers of them, and drop the rounding
_PRODUCTS = ("Convolution", "GroupConvolution")


def round_once(model: Any) -> int:
    """Take the roundings before residual sums out of an `openvino.Model`, in place; count them."""
    taken = 0
    for node in model.get_ordered_ops():
        if node.get_type_name() == "Add":  # of the products, and of a shortcut, which stays
            taken += _take_rounding(node.input(0))
    return taken


def _take_rounding(entry: Any) -> bool:
    """Let products through unrounded."""
    quantizer = _quantizer(entry.get_source_output().get_node())
    rounded = quantizer is not None and _is_product(quantizer.input_value(0).get_node())
    if rounded:
        entry.replace_source_output(quantizer.input_value(0))
    return rounded


def keep_sums_inside(model: Any) -> int:
    """Round the products before each sum of an `openvino.Model` in place, and count the sums.

    Rounding clips, to what the sum can use: beyond the ends of its codes less those of the shortcut's, no sum that is
    then clipped itself is another one.
    """
    sums = 0
    for add in model.get_ordered_ops():
        if add.get_type_name() != "Add":
            continue
        target, source = _codes_of(add), _quantizer(add.input_value(1).get_node())
        if target is not None and source is not None and _is_product(add.input_value(0).get_node()):
            (low, high), (least, most) = _range(target), _range(source)
            _round(add.input(0), low - most, high - least)
            sums += 1
    return sums


def _codes_of(add: Any) -> Any:
    """The FakeQuantize that makes codes of a sum, behind nothing or a ReLU, which leaves what is clipped clipped."""
    node = _only_reader(add)
    if node is not None and node.get_type_name() == "Relu":
        node = _only_reader(node)
    return node if node is not None and node.get_type_name() == "FakeQuantize" else None


def _only_reader(node: Any) -> Any:
    readers = node.output(0).get_target_inputs()
    return next(iter(readers)).get_node() if len(readers) == 1 else None


def _quantizer(node: Any) -> Any:
    """The FakeQuantize whose codes `node` is the floats of; None where it is something else."""
    while node.get_type_name() in ("Multiply", "Subtract", "Convert", "MaxPool") and not _is_of_two(node):
        node = node.input_value(0).get_node()
    return node if node.get_type_name() == "FakeQuantize" else None


def _is_of_two(node: Any) -> bool:
    """Whether it multiplies values by values, as swish does, and not by the scale of codes."""
    return node.get_type_name() == "Multiply" and all(
        node.input_value(port).get_node().get_type_name() != "Constant" for port in (0, 1)
    )


def _is_product(node: Any) -> bool:
    if node.get_type_name() == "Add":  # its bias
        node = node.input_value(0).get_node()
    return node.get_type_name() in _PRODUCTS


def _range(quantizer: Any) -> tuple[float, float]:
    low, high = (quantizer.input_value(port).get_node().get_data() for port in (1, 2))
    return float(low.min()), float(high.max())


def _round(entry: Any, low: float, high: float) -> None:
    from openvino import opset13

    ends = [opset13.constant(np.full((1, 1, 1, 1), end, np.float32)) for end in (low, high)]
    entry.replace_source_output(opset13.fake_quantize(entry.get_source_output(), *ends, *ends, LEVELS).output(0))
