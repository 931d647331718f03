"""What a kind of block is, without torch: its arguments and bounds, its layers, and all that follows from them.

A kind declares its layers once. From them come the state dict's keys and shapes in every precision, the channel
spaces that must narrow together, and the multiply-accumulates.
"""

from zoo.kinds.costs import MAX_PARAMETERS, Cost, check, cost, row_costs, row_shapes, usual_size
from zoo.kinds.heads import classes, head, headless, outputs, per_pixel, role, width_argument
from zoo.kinds.input_shape import averaged, has_grid, with_channels, with_size
from zoo.kinds.kind import ACTIVATIONS, GATES, GROUP, MAX_CHANNELS, PADDINGS, Arg, Axis, Kind, Layer, Shape, Sum, Table
from zoo.kinds.layout import Layout, LeafShape, layout
from zoo.kinds.rows import EARLIER_KEYS, KINDS, arguments, layer_widths, model_state, residual, state
from zoo.kinds.trunk import Level, Stack, levels, parts, stacks

__all__ = [
    "ACTIVATIONS",
    "EARLIER_KEYS",
    "GATES",
    "GROUP",
    "KINDS",
    "MAX_CHANNELS",
    "MAX_PARAMETERS",
    "PADDINGS",
    "Arg",
    "Axis",
    "Cost",
    "Kind",
    "Layer",
    "Layout",
    "LeafShape",
    "Level",
    "Shape",
    "Stack",
    "Sum",
    "Table",
    "arguments",
    "averaged",
    "check",
    "classes",
    "cost",
    "has_grid",
    "head",
    "headless",
    "layer_widths",
    "layout",
    "levels",
    "model_state",
    "outputs",
    "parts",
    "per_pixel",
    "residual",
    "role",
    "row_costs",
    "row_shapes",
    "stacks",
    "state",
    "usual_size",
    "width_argument",
    "with_channels",
    "with_size",
]
