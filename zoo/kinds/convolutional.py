"""The kinds of convolutional networks."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from zoo.kinds.kind import ACTIVATIONS, GATES, MAX_CHANNELS, PADDINGS, Arg, Kind, Layer, NormReaders, Sum

WIDTH = Arg(int, low=1, high=MAX_CHANNELS)
CLASSES = Arg(int, low=1, high=1_000_000)
KERNEL = Arg(int, 3, low=1, high=31, odd=True)  # an even one has no symmetric padding that keeps the size
_STRIDE = Arg(int, 1, low=1, high=8)
_DILATION = Arg(int, 1, low=1, high=64)
_PADDING = Arg(str, "symmetric", choices=PADDINGS)
_ACT = Arg(str, "relu6", choices=ACTIVATIONS)
_RELU = Arg(str, "relu", choices=ACTIVATIONS)
_EPS = Arg(float, 1e-5, low=1e-12, high=1.0)
_SE = {
    "se_channels": Arg(int, 0, low=0, high=MAX_CHANNELS),
    "se_activation": Arg(str, "relu", choices=ACTIVATIONS),
    "se_gate": Arg(str, "sigmoid", choices=GATES),
}


def _conv_layers(args: Mapping[str, Any]) -> tuple[Layer, ...]:
    return (
        Layer(
            "",
            "in",
            "out",
            args["kernel_size"],
            args["stride"],
            args["dilation"],
            padding=args["padding"],
            activation=args["activation"],
        ),
    )


def _se_layers(args: Mapping[str, Any], space: str, path: str = "se.") -> tuple[Layer, ...]:
    if not args["se_channels"]:
        return ()
    return (
        Layer(f"{path}reduce.", space, "se", activation=args["se_activation"], norm=False, pooled=True),
        Layer(f"{path}expand.", "se", space, norm=False, pooled=True),
    )


def _depthwise_layer(args: Mapping[str, Any], space: str) -> Layer:
    return Layer(
        "depthwise.",
        space,
        space,
        args["kernel_size"],
        args["stride"],
        args["dilation"],
        padding=args["padding"],
        activation=args["activation"],
        depthwise=True,
    )


def _separable_layers(args: Mapping[str, Any]) -> tuple[Layer, ...]:
    return (
        _depthwise_layer(args, "in"),
        *_se_layers(args, "in"),
        Layer("project.", "in", "out", activation=args["out_activation"]),
    )


def _inverted_layers(args: Mapping[str, Any]) -> tuple[Layer, ...]:
    return (
        Layer("expand.", "in", "mid", activation=args["activation"]),
        _depthwise_layer(args, "mid"),
        *_se_layers(args, "mid"),
        Layer("project.", "mid", "out"),
    )


def _skip_ties(args: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    return (("in", "out"),) if args["skip"] else ()


def _separable_edges(args: Mapping[str, Any]) -> tuple[str, ...]:
    return ("se",) if args["se_channels"] else ("depthwise",)


def _projected(args: Mapping[str, Any]) -> Sum | None:
    return Sum("project") if args["skip"] else None


def _shortcut_layers(args: Mapping[str, Any]) -> tuple[Layer, ...]:
    return (Layer("shortcut.", "in", "out", 1, args["stride"], from_row_input=True),) if args["projection"] else ()


def _basic_layers(args: Mapping[str, Any]) -> tuple[Layer, ...]:
    return (
        Layer("conv1.", "in", "mid", 3, args["stride"], args["first_dilation"], activation=args["activation"]),
        Layer("conv2.", "mid", "out", 3, dilation=args["dilation"]),
        *_shortcut_layers(args),
    )


def _bottleneck_layers(args: Mapping[str, Any]) -> tuple[Layer, ...]:
    return (
        Layer("conv1.", "in", "mid1", activation=args["activation"]),
        Layer("conv2.", "mid1", "mid2", 3, args["stride"], args["dilation"], activation=args["activation"]),
        Layer("conv3.", "mid2", "out"),
        *_shortcut_layers(args),
    )


def _shortcut_ties(args: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    return () if args["projection"] else (("in", "out"),)


def _shortcut_edges(args: Mapping[str, Any]) -> tuple[str, ...]:
    return ("shortcut",) if args["projection"] else ()


def _behind_relu(layers: tuple[Layer, ...]) -> NormReaders:
    """Of each layer that a ReLU stands behind, its norm, and the layer that reads it."""
    chain = [layer for layer in layers if not layer.from_row_input]
    return tuple((f"{a.path}bn.", (b.path,)) for a, b in pairwise(chain) if a.activation == "relu")


def _shortcut_sum(args: Mapping[str, Any], part: str) -> Sum:
    return Sum(part, "shortcut" if args["projection"] else "in", args["activation"])


CONVOLUTIONAL: tuple[Kind, ...] = (
    Kind(
        "conv_norm_act",
        {
            "in_channels": WIDTH,
            "out_channels": WIDTH,
            "kernel_size": KERNEL,
            "stride": _STRIDE,
            "dilation": _DILATION,
            "padding": _PADDING,
            "activation": _ACT,
            "eps": _EPS,
        },
        _conv_layers,
        widths={"in": "in_channels", "out": "out_channels"},
    ),
    Kind(
        "depthwise_separable",
        {
            "in_channels": WIDTH,
            "out_channels": WIDTH,
            "kernel_size": KERNEL,
            "stride": _STRIDE,
            "dilation": _DILATION,
            "padding": _PADDING,
            "skip": Arg(bool, False),
            "activation": _ACT,
            "out_activation": _ACT,
            **_SE,
            "eps": _EPS,
        },
        _separable_layers,
        widths={"in": "in_channels", "out": "out_channels", "se": "se_channels"},
        ties=_skip_ties,
        edges=lambda args: ("in", *_separable_edges(args), "out"),
        sums=_projected,
    ),
    Kind(
        "inverted_residual",
        {
            "in_channels": WIDTH,
            "mid_channels": WIDTH,
            "out_channels": WIDTH,
            "kernel_size": KERNEL,
            "stride": _STRIDE,
            "dilation": _DILATION,
            "padding": _PADDING,
            "skip": Arg(bool, False),
            "activation": _ACT,
            **_SE,
            "eps": _EPS,
        },
        _inverted_layers,
        widths={"in": "in_channels", "mid": "mid_channels", "out": "out_channels", "se": "se_channels"},
        ties=_skip_ties,
        edges=lambda args: ("in", "expand", *_separable_edges(args), "out"),
        sums=_projected,
    ),
    Kind(
        "basic_block",
        {
            "in_channels": WIDTH,
            "mid_channels": WIDTH,
            "out_channels": WIDTH,
            "stride": _STRIDE,
            "first_dilation": _DILATION,
            "dilation": _DILATION,
            "projection": Arg(bool, False),
            "activation": _RELU,
            "eps": _EPS,
        },
        _basic_layers,
        widths={"in": "in_channels", "mid": "mid_channels", "out": "out_channels"},
        ties=_shortcut_ties,
        edges=lambda args: ("in", "conv1", *_shortcut_edges(args), "out"),
        sums=lambda args: _shortcut_sum(args, "conv2"),
        norm_readers=lambda args: _behind_relu(_basic_layers(args)),
    ),
    Kind(
        "bottleneck",
        {
            "in_channels": WIDTH,
            "mid1_channels": WIDTH,
            "mid2_channels": WIDTH,
            "out_channels": WIDTH,
            "stride": _STRIDE,
            "dilation": _DILATION,
            "projection": Arg(bool, False),
            "activation": _RELU,
            "eps": _EPS,
        },
        _bottleneck_layers,
        widths={"in": "in_channels", "mid1": "mid1_channels", "mid2": "mid2_channels", "out": "out_channels"},
        ties=_shortcut_ties,
        edges=lambda args: ("in", "conv1", "conv2", *_shortcut_edges(args), "out"),
        sums=lambda args: _shortcut_sum(args, "conv3"),
        norm_readers=lambda args: _behind_relu(_bottleneck_layers(args)),
    ),
    Kind(
        "max_pool",
        {"kernel_size": KERNEL, "stride": Arg(int, 2, low=1, high=8)},
        lambda args: (),
        passes_channels=True,
        edges=lambda args: ("in",),
        shape=lambda args, shape: (shape[0], *(-(-side // args["stride"]) for side in shape[1:])),
    ),
    Kind("global_pool", {}, lambda args: (), passes_channels=True, shape=lambda args, shape: shape[:1], role="pool"),
    Kind(
        "hidden",
        {
            "in_features": WIDTH,
            "out_features": WIDTH,
            "activation": Arg(str, "hard_swish", choices=ACTIVATIONS),
            "dropout": Arg(float, 0.0, low=0.0, high=0.95),
        },
        lambda args: (Layer("fc.", "in", "out", activation=args["activation"], linear=True, norm=False),),
        widths={"in": "in_features", "out": "out_features"},
        rank=1,
    ),
    Kind(
        "classifier",
        {
            "in_features": WIDTH,
            "num_classes": CLASSES,
            "dropout": Arg(float, 0.0, low=0.0, high=0.95),
        },
        lambda args: (Layer("fc.", "in", "out", linear=True, norm=False),),
        widths={"in": "in_features", "out": "num_classes"},
        rank=1,
        role="head",
    ),
)
