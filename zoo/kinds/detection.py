"""The heads of detectors: on each of several maps a part for classes and a part for boxes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zoo.kinds.convolutional import CLASSES, KERNEL, WIDTH
from zoo.kinds.dense import TAPS
from zoo.kinds.kind import ACTIVATIONS, MAX_CHANNELS, Arg, Kind, Layer, Shape

PARTS = ("cls", "box")
_MAPS = {
    "in_channels": WIDTH,
    **{f"tap{tap}_channels": Arg(int, 0, low=0, high=MAX_CHANNELS) for tap in range(TAPS)},
    "num_classes": CLASSES,
}
_LAYERS = {
    "activation": Arg(str, "relu6", choices=ACTIVATIONS),
    "eps": Arg(float, 1e-5, low=1e-12, high=1.0),
}


def _limits(score: float, overlap: float, most: int) -> dict[str, Arg]:
    return {
        "score_thresh": Arg(float, score, low=0.0, high=1.0),
        "nms_thresh": Arg(float, overlap, low=0.0, high=1.0),
        "detections_per_img": Arg(int, most, low=1, high=1000),
        "topk_candidates": Arg(int, 300, low=1, high=4096),
    }


def _levels(args: Mapping[str, Any]) -> int:
    return 1 + sum(args[f"tap{tap}_channels"] > 0 for tap in range(TAPS))


def _space(level: int) -> str:
    return f"tap{level - 1}" if level else "in"


def _layers(args: Mapping[str, Any]) -> tuple[Layer, ...]:
    """Of each level a depthwise convolution, where the kernel is wider than 1, and a 1x1 convolution, for each part."""
    found = []
    for level in range(_levels(args)):
        for part in PARTS:
            name, space = f"{part}{level}", _space(level)
            if args["kernel_size"] > 1:
                kernel, activation = args["kernel_size"], args["activation"]
                found.append(
                    Layer(
                        f"{name}.depthwise.",
                        space,
                        space,
                        kernel,
                        activation=activation,
                        depthwise=True,
                        from_row_input=True,
                    )
                )
            found.append(Layer(f"{name}.project.", space, name, norm=False, from_row_input=args["kernel_size"] == 1))
    return tuple(found)


def _edges(args: Mapping[str, Any]) -> tuple[str, ...]:
    levels = range(_levels(args))
    inner = [f"{part}{level}.depthwise" for level in levels for part in PARTS] if args["kernel_size"] > 1 else []
    return (*map(_space, levels), *inner)


def _ssd_values(args: Mapping[str, Any]) -> dict[str, int]:
    """How many values each position has: for its anchors the classes with the background, and four offsets."""
    each = 2 + 2 * len(args["aspect_ratios"])
    return {"cls": each * (1 + args["num_classes"]), "box": each * 4}


def _gfl_values(args: Mapping[str, Any]) -> dict[str, int]:
    return {"cls": args["num_classes"], "box": 4 * (args["reg_max"] + 1)}


def _of_levels(values: Any) -> Any:
    return lambda args: {
        f"{part}{level}": count for part, count in values(args).items() for level in range(_levels(args))
    }


def _costs(values: Any, anchors: Any) -> Any:
    def macs_and_shape(args: Mapping[str, Any], *maps: Shape) -> tuple[int, Shape]:
        wide, kernel = sum(values(args).values()), args["kernel_size"]
        macs, positions = 0, 0
        for channels, height, width in maps:
            depthwise = 2 * kernel**2 if kernel > 1 else 0
            macs += height * width * channels * (wide + depthwise)
            positions += height * width
        each = anchors(args)
        return macs, (wide // each, positions * each)

    return macs_and_shape


def _conflict(args: Mapping[str, Any]) -> str:
    levels = _levels(args)
    if any(args[f"tap{tap}_channels"] for tap in range(levels - 1, TAPS)):
        return f"tap{levels - 1}_channels is 0, and a later one is not"
    if "strides" in args and len(args["strides"]) != levels:
        return f"strides are {levels} numbers, one for each map, not {len(args['strides'])}"
    if "min_scale" in args and args["min_scale"] > args["max_scale"]:
        return "min_scale is above max_scale"
    return ""


def _head(name: str, args: Mapping[str, Arg], values: Any, anchors: Any, boxes: str) -> Kind:
    return Kind(
        name,
        {**_MAPS, **args, **_LAYERS},
        _layers,
        widths={
            "in": "in_channels",
            "out": "num_classes",
            **{f"tap{tap}": f"tap{tap}_channels" for tap in range(TAPS)},
        },
        derived=_of_levels(values),
        macs_and_shape=_costs(values, anchors),
        edges=_edges,
        conflict=_conflict,
        taps=lambda args: _levels(args) - 1,
        role="head",
        boxes=boxes,
    )


DETECTION: tuple[Kind, ...] = (
    _head(
        "ssd_head",
        {
            "aspect_ratios": Arg(tuple, (2.0, 3.0), low=0.05, high=20.0),
            "min_scale": Arg(float, 0.2, low=0.001, high=1.0),
            "max_scale": Arg(float, 0.95, low=0.001, high=1.0),
            "kernel_size": KERNEL,
            **_limits(0.01, 0.45, 200),
        },
        _ssd_values,
        lambda args: 2 + 2 * len(args["aspect_ratios"]),
        "zoo.detection.ssd:SSDBoxes",
    ),
    _head(
        "gfl_head",
        {
            "strides": Arg(tuple, (8, 16, 32), low=1, high=1024, whole=True),
            "reg_max": Arg(int, 7, low=1, high=64),
            "kernel_size": Arg(int, 1, low=1, high=31, odd=True),
            **_limits(0.05, 0.6, 100),
        },
        _gfl_values,
        lambda args: 1,
        "zoo.detection.gfl:GFLBoxes",
    ),
)
