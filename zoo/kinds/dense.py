"""The kinds that join and part maps, and those of dense prediction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zoo.kinds.convolutional import CLASSES, KERNEL, WIDTH
from zoo.kinds.kind import ACTIVATIONS, GATES, MAX_CHANNELS, Arg, Kind, Layer, Shape
from zoo.spec import SpecError

MODES = ("bilinear", "nearest")
TAPS = 7  # of a concatenation
_NONE = Arg(int, 0, low=0, high=MAX_CHANNELS)


def _taps(args: Mapping[str, Any]) -> int:
    return sum(args[f"tap{tap}_channels"] > 0 for tap in range(TAPS))


def _concat_conflict(args: Mapping[str, Any]) -> str:
    missing = next(tap for tap in range(TAPS + 1) if tap == TAPS or not args[f"tap{tap}_channels"])
    return "" if missing == _taps(args) else f"tap{missing}_channels is 0, and a later one is not"


def _concat_edges(args: Mapping[str, Any]) -> tuple[str, ...]:
    return ("in", *(f"tap{tap}" for tap in range(_taps(args))), "out")


def _same_size(shape: Shape, *tapped: Shape) -> None:
    for other in tapped:
        if other[1:] != shape[1:]:
            raise SpecError(f"it joins maps of one size, not of {shape[1:]} and {other[1:]}")


def _added(args: Mapping[str, Any], shape: Shape, tapped: Shape) -> tuple[int, Shape]:
    _same_size(shape, tapped)
    return 0, shape


def _joined(args: Mapping[str, Any], shape: Shape, *tapped: Shape) -> tuple[int, Shape]:
    _same_size(shape, *tapped)
    return 0, (shape[0] + sum(other[0] for other in tapped), *shape[1:])


def _upsampled(args: Mapping[str, Any], shape: Shape, *tapped: Shape) -> tuple[int, Shape]:
    size = tapped[0][1:] if tapped else tuple(args["scale_factor"] * side for side in shape[1:])
    return 0, (shape[0], *size)


def _upsampled_reduction(args: Mapping[str, Any], reduction: int, *tapped: int) -> int:
    if tapped:
        return tapped[0]
    return 0 if reduction % args["scale_factor"] else reduction // args["scale_factor"]


def _gated(args: Mapping[str, Any], shape: Shape, tapped: Shape) -> tuple[int, Shape]:
    return args["channels"] * args["gate_channels"], shape


def _head_layers(args: Mapping[str, Any]) -> tuple[Layer, ...]:
    side = (Layer("side.", "tap1", "out", norm=False),) if args["side_channels"] else ()
    return (Layer("fc.", "in", "out", norm=False), *side)


def _head_macs(args: Mapping[str, Any], shape: Shape, picture: Shape, *finer: Shape) -> tuple[int, Shape]:
    macs = sum(channels * height * width for channels, height, width in (shape, *finer)) * args["num_classes"]
    return macs, (args["num_classes"], *picture[1:])


DENSE: tuple[Kind, ...] = (
    Kind(
        "add",
        {"channels": WIDTH, "activation": Arg(str, "none", choices=ACTIVATIONS)},
        lambda args: (),
        widths={"in": "channels", "out": "channels", "tap0": "channels"},
        ties=lambda args: (("in", "out"), ("in", "tap0")),
        macs_and_shape=_added,
        edges=lambda args: ("in", "tap0", "out"),
        precisions=("float32", "int8", "qat"),
        taps=lambda args: 1,
    ),
    Kind(
        "concat",
        {"in_channels": WIDTH, "tap0_channels": WIDTH, **{f"tap{tap}_channels": _NONE for tap in range(1, TAPS)}},
        lambda args: (),
        widths={"in": "in_channels", **{f"tap{tap}": f"tap{tap}_channels" for tap in range(TAPS)}},
        composed={"out": ("in", *(f"tap{tap}" for tap in range(TAPS)))},
        macs_and_shape=_joined,
        edges=_concat_edges,
        one_code=("in", *(f"tap{tap}" for tap in range(TAPS))),
        precisions=("float32", "int8", "qat"),
        conflict=_concat_conflict,
        taps=_taps,
    ),
    Kind(
        "slice",
        {"channels": WIDTH, "before": _NONE, "after": _NONE},
        lambda args: (),
        widths={"before": "before", "out": "channels", "after": "after"},
        composed={"in": ("before", "out", "after")},
        macs_and_shape=lambda args, shape: (0, (args["channels"], *shape[1:])),
        edges=lambda args: ("in",),
        precisions=("float32", "int8", "qat"),
    ),
    Kind(
        "upsample",
        {"scale_factor": Arg(int, 0, low=0, high=8), "mode": Arg(str, "bilinear", choices=MODES)},
        lambda args: (),
        passes_channels=True,
        macs_and_shape=_upsampled,
        edges=lambda args: ("in",),
        precisions=("float32", "int8", "qat"),
        taps=lambda args: 0 if args["scale_factor"] else 1,
        sized_by=(0,),
        reduction=_upsampled_reduction,
    ),
    Kind(
        "avg_pool",
        {"kernel_size": KERNEL, "stride": Arg(int, 2, low=1, high=64)},
        lambda args: (),
        passes_channels=True,
        edges=lambda args: ("in", "out"),
        precisions=("float32", "int8", "qat"),
        shape=lambda args, shape: (shape[0], *(-(-side // args["stride"]) for side in shape[1:])),
    ),
    Kind(
        "adaptive_avg_pool",
        {"size": Arg(int, 1, low=1, high=64)},
        lambda args: (),
        passes_channels=True,
        edges=lambda args: ("in", "out"),
        precisions=("float32", "int8", "qat"),
        shape=lambda args, shape: (shape[0], args["size"], args["size"]),
        reduction=lambda args, reduction: 0,
    ),
    Kind(
        "channel_gate",
        {"channels": WIDTH, "gate_channels": WIDTH, "gate": Arg(str, "sigmoid", choices=GATES)},
        lambda args: (Layer("fc.", "tap0", "out", norm=False, linear=True, pooled=True, bias=False),),
        widths={"in": "channels", "out": "channels", "tap0": "gate_channels"},
        ties=lambda args: (("in", "out"),),
        macs_and_shape=_gated,
        edges=lambda args: ("in", "tap0", "out"),
        taps=lambda args: 1,
    ),
    Kind(
        "segmentation_head",
        {
            "in_channels": WIDTH,
            "num_classes": CLASSES,
            "side_channels": _NONE,
            "dropout": Arg(float, 0.0, low=0.0, high=0.95),
        },
        _head_layers,
        widths={"in": "in_channels", "out": "num_classes", "tap1": "side_channels"},
        macs_and_shape=_head_macs,
        edges=lambda args: ("in", "tap1") if args["side_channels"] else ("in",),
        taps=lambda args: 1 + bool(args["side_channels"]),
        sized_by=(0,),
        reduction=lambda args, reduction, picture, *finer: picture,
        role="head",
    ),
)
