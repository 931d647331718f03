"""What a kind of block is, without torch: its arguments and bounds, its layers, and all that follows from them.

A kind declares its layers once. From them come the state dict's keys and shapes in every precision, the channel
spaces that must narrow together, and the multiply-accumulates.
"""

from zoo.kinds.costs import MAX_PARAMETERS, Cost, check, cost, row_costs, row_shapes, usual_size
from zoo.kinds.kind import ACTIVATIONS, GATES, MAX_CHANNELS, PADDINGS, Arg, Axis, Kind, Layer, Shape
from zoo.kinds.rows import KINDS, arguments, layer_widths, model_state, state
from zoo.kinds.trunk import Level, levels

__all__ = [
    "ACTIVATIONS",
    "GATES",
    "KINDS",
    "MAX_CHANNELS",
    "MAX_PARAMETERS",
    "PADDINGS",
    "Arg",
    "Axis",
    "Cost",
    "Kind",
    "Layer",
    "Level",
    "Shape",
    "arguments",
    "check",
    "cost",
    "layer_widths",
    "levels",
    "model_state",
    "row_costs",
    "row_shapes",
    "state",
    "usual_size",
]
