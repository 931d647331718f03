"""What a row is made of in integers: its arguments, its layers with their sizes, and what flows in and out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from zoo.kinds.rows import KINDS, arguments, layer_widths
from zoo.spec import Block


class LeafShape(NamedTuple):
    """One layer of a row: its sizes, its window, and the activation behind it."""

    in_channels: int
    out_channels: int
    kernel_size: int = 1
    stride: int = 1
    dilation: int = 1
    padding: str = "symmetric"
    depthwise: bool = False
    linear: bool = False
    activation: str = "none"


@dataclass(frozen=True)
class Layout:
    """What `build` hands to an int8, qat or fused row.

    `leaves` are its layers by the path of the leaf in the row, such as "se.reduce"; `edges` are the places where the
    row quantizes. `reads` is what the row before emits, "float32" or "uint8", and `tapped` what each tapped row does.
    """

    args: Mapping[str, Any]
    leaves: Mapping[str, LeafShape] = field(default_factory=dict)
    edges: tuple[str, ...] = ("in", "out")
    reads: str = "float32"
    emits: str = "float32"
    tapped: tuple[str, ...] = ()


def layout(row: Block, reads: str = "float32", tapped: tuple[str, ...] = ()) -> Layout:
    """The row's layout, from the layers that its kind declares."""
    kind, args, widths = KINDS[row.kind], arguments(row), layer_widths(row)
    leaves = {
        layer.int8_path.removesuffix("."): LeafShape(
            widths[layer.source],
            widths[layer.target],
            layer.kernel,
            layer.stride,
            layer.dilation,
            layer.padding,
            layer.depthwise,
            layer.linear,
            layer.activation,
        )
        for layer in kind.layers(args)
    }
    return Layout(args, leaves, kind.edges(args), reads, row.emits, tapped)
