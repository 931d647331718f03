"""Sums of residual blocks inside OpenVINO's convolutions.

An int8 residual block rounds once, behind its sum: the last convolution's products are added unrounded. OpenVINO's CPU
plugin keeps a sum inside the convolution only where its products are rounded before it too, and otherwise writes them
as floats for a second pass. So they are rounded there, to steps thousands of times finer than the block's own: one
pass, and the same codes but for ties.
"""

from __future__ import annotations

from typing import Any

import numpy as np

LEVELS = 1 << 20  # not one of OpenVINO's own numbers of levels: it would make integers of them, and drop the rounding


def keep_sums_inside(model: Any) -> int:
    """Round the products before each sum of an `openvino.Model` in place, and count the sums.

    Rounding clips, to what the sum can use: beyond the ends of its codes less those of the shortcut's, no sum that is
    then clipped itself is another one.
    """
    sums = 0
    for add in model.get_ordered_ops():
        if add.get_type_name() != "Add":
            continue
        target = _codes_of(add)
        for products, shortcut in ((0, 1), (1, 0)):
            source = _quantizer(add.input_value(shortcut).get_node())
            if target is not None and source is not None and _is_convolution(add.input_value(products).get_node()):
                (low, high), (least, most) = _range(target), _range(source)
                _round(add.input(products), low - most, high - least)
                sums += 1
                break
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
    while node.get_type_name() in ("Multiply", "Subtract", "Convert", "MaxPool"):
        node = node.input_value(0).get_node()
    return node if node.get_type_name() == "FakeQuantize" else None


def _is_convolution(node: Any) -> bool:
    if node.get_type_name() == "Add":  # its bias
        node = node.input_value(0).get_node()
    return node.get_type_name() in ("Convolution", "GroupConvolution")


def _range(quantizer: Any) -> tuple[float, float]:
    low, high = (quantizer.input_value(port).get_node().get_data() for port in (1, 2))
    return float(low.min()), float(high.max())


def _round(entry: Any, low: float, high: float) -> None:
    from openvino import opset13

    ends = [opset13.constant(np.full((1, 1, 1, 1), end, np.float32)) for end in (low, high)]
    entry.replace_source_output(opset13.fake_quantize(entry.get_source_output(), *ends, *ends, LEVELS).output(0))
