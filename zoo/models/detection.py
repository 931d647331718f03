"""Networks that find objects, on any backbone: SSDLite, and a one-stage detector without anchors.

Both end in one head, which reads several maps. The backbone's rows keep their names, so its weights fit.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from zoo import kinds
from zoo.models import mobilenetv2, mobilenetv3
from zoo.spec import Block, ImageInput, ModelSpec, SpecError

TASK = "object-detection"
SIZE = (320, 320)
CLASSES = 80  # of COCO
RELU6 = {"activation": "relu6", "out_activation": "relu6"}
EXTRA = (512, 256, 256, 128)  # channels of SSDLite's maps behind the backbone


def ssdlite(
    name: str,
    num_classes: int = CLASSES,
    backbone: ModelSpec | None = None,
    extra_channels: Sequence[int] = EXTRA,
) -> ModelSpec:
    """SSDLite (Sandler et al., 2018): SSD (Liu et al., 2016) with depthwise separable layers.

    It reads the last two maps of the backbone, and four smaller ones.
    """
    backbone = backbone or mobilenetv3.imagenet("mobilenetv3_large_100")
    rows, (fine, coarse) = _trunk(backbone, 2)
    maps, width = [(fine.row, fine.channels), (coarse.row, coarse.channels)], coarse.channels
    more = list[Block]()
    for number, channels in enumerate(extra_channels, 1):
        inner = max(1, channels // 2)
        more += [
            _conv(f"extra{number}_in", width, inner, activation="relu6"),
            _separable(f"extra{number}", inner, channels, kernel_size=3, stride=2, **RELU6),
        ]
        maps.append((f"extra{number}", channels))
        width = channels
    return _network(name, (*rows, *more, *_head("ssd_head", maps, num_classes)), backbone.pictures)


def gfl_pan(
    name: str,
    num_classes: int = CLASSES,
    backbone: ModelSpec | None = None,
    decoder_channels: int = 96,
) -> ModelSpec:
    """A detector without anchors: generalized focal loss (Li et al., 2020) on a path aggregation network (Liu et al.,
    2018) of depthwise separable layers with 5x5 kernels, as NanoDet-Plus and PP-PicoDet (Yu et al., 2021) have it.

    It reads the last three maps of the backbone. On each the classes and the boxes share two layers.
    """
    backbone = backbone or mobilenetv2.imagenet("mobilenetv2_100")
    rows, levels = _trunk(backbone, 3)
    width, count = decoder_channels, len(levels)
    more = list[Block]()
    for number, level in reversed(list(enumerate(levels, 1))):
        more += [Block("branch", f"lateral{number}_in", taps=(level.row,))] if number < count else []
        more.append(_conv(f"lateral{number}", level.channels, width))
    down = [f"lateral{count}"]  # the maps from the coarsest to the finest, each with what is above it
    for number in range(count - 1, 0, -1):
        more += [
            Block("branch", f"top{number}_in", taps=(down[-1],)),
            Block("upsample", f"top{number}_up", taps=(f"lateral{number}",), mode="nearest"),
            *_joined(f"top{number}", f"lateral{number}", width),
        ]
        down.append(f"top{number}")
    maps = [down[-1]]
    for number, above in enumerate(reversed(down[:-1]), 2):
        more += [
            Block("branch", f"out{number}_in", taps=(maps[-1],)),
            _separable(f"out{number}_down", width, width, stride=2),
            *_joined(f"out{number}", above, width),
        ]
        maps.append(f"out{number}")
    for number, row in enumerate(maps, 1):
        more += [
            Block("branch", f"tower{number}_in", taps=(row,)),
            _separable(f"tower{number}_1", width, width),
            _separable(f"tower{number}_2", width, width),
        ]
    towers = [(f"tower{number}_2", width) for number in range(1, count + 1)]
    strides = tuple(level.reduction for level in levels)
    more += _head("gfl_head", towers, num_classes, strides=strides)
    return _network(name, (*rows, *more), backbone.pictures)


def _trunk(backbone: ModelSpec, count: int) -> tuple[tuple[Block, ...], tuple[kinds.Level, ...]]:
    """The backbone's rows up to its last map, and its last `count` maps, the finest first."""
    levels = kinds.levels(backbone)
    if len(levels) < count:
        raise SpecError(f"{backbone.name} has {len(levels)} maps before its pooling, and this detector reads {count}.")
    levels = tuple(sorted(levels, key=lambda level: level.reduction))[-count:]
    if odd := next((b for a, b in pairwise(levels) if b.reduction != 2 * a.reduction), None):
        raise SpecError(f"{backbone.name} has a map at 1/{odd.reduction} that is not half as wide as the one before.")
    last = max(backbone.rows.index(backbone[level.row]) for level in levels)
    return backbone.rows[: last + 1], levels


def _joined(name: str, tapped: str, width: int) -> tuple[Block, Block]:
    """What comes and a tapped map, joined, as one map of the same width."""
    return (
        Block("concat", f"{name}_join", taps=(tapped,), in_channels=width, tap0_channels=width),
        _separable(name, 2 * width, width),
    )


def _conv(name: str, channels: int, out: int, activation: str = "relu") -> Block:
    return Block("conv_norm_act", name, in_channels=channels, out_channels=out, kernel_size=1, activation=activation)


def _separable(name: str, channels: int, out: int, **args: Any) -> Block:
    common = {"kernel_size": 5, "activation": "relu", "out_activation": "relu"}
    return Block("depthwise_separable", name, in_channels=channels, out_channels=out, **{**common, **args})


def _head(kind: str, maps: Sequence[tuple[str, int]], num_classes: int, **args: Any) -> tuple[Block, Block]:
    """The head on maps given by their rows and channels, the finest first."""
    (first, width), *others = maps
    taps: dict[str, Any] = {f"tap{number}_channels": channels for number, (_, channels) in enumerate(others)}
    return (
        Block("branch", "detector_in", taps=(first,)),
        Block(
            kind,
            "detector",
            taps=tuple(row for row, _ in others),
            in_channels=width,
            num_classes=num_classes,
            **taps,
            **args,
        ),
    )


def _network(name: str, rows: tuple[Block, ...], pictures: ImageInput) -> ModelSpec:
    given = ImageInput(
        size=SIZE,
        channels=pictures.channels,
        mean=pictures.mean,
        std=pictures.std,
        interpolation="bilinear",
        crop=1.0,
        squash=True,
    )
    return ModelSpec(name, rows, given, TASK)
