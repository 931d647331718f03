"""What the mobile families share: stages of separable blocks between a stem and a head, and how they grow."""

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

from zoo.spec import Block


class Stage(NamedTuple):
    """Blocks of one width; the first of them has the stride."""

    expansion: int
    channels: int
    repeats: int
    stride: int
    kernel_size: int = 3


def scaled(stages: Iterable[Stage], width: float, depth: float, fixed_ends: bool) -> tuple[int, tuple[Stage, ...], int]:
    """The widths of stem and head, and the stages between, at these multiples of the family's smallest network.

    `fixed_ends` exempts stem, head and the repeats of the first and the last stage, as timm does.
    """
    first, *middle, last = (stage._replace(channels=round_channels(stage.channels * width)) for stage in stages)
    if not fixed_ends:
        first, last = _deeper(first, depth), _deeper(last, depth)
    stem = 32 if fixed_ends else round_channels(32 * width)
    head = 1280 if fixed_ends else max(1280, round_channels(1280 * width))
    return stem, (first, *(_deeper(stage, depth) for stage in middle), last), head


def rows(
    stem: int,
    stages: Iterable[Stage],
    head: int,
    num_classes: int,
    *,
    se_activation: str | None = None,
    **common: Any,
) -> tuple[Block, ...]:
    """The whole network; every convolutional row has the `common` arguments.

    With `se_activation`, each block has a squeeze-and-excite a quarter as wide as the block's input.
    """
    made = [Block("conv_norm_act", "stem", in_channels=3, out_channels=stem, kernel_size=3, stride=2, **common)]
    width = stem
    for number, stage in enumerate(stages, 1):
        for repeat in range(1, stage.repeats + 1):
            name = f"s{number}_{repeat}"
            args: dict[str, Any] = {
                "in_channels": width,
                "out_channels": stage.channels,
                "stride": stage.stride if repeat == 1 else 1,
                "skip": repeat > 1 or (stage.stride == 1 and width == stage.channels),
                **common,
            }
            if stage.kernel_size != 3:
                args["kernel_size"] = stage.kernel_size
            if se_activation:
                args |= {"se_channels": width // 4, "se_activation": se_activation}
            if stage.expansion == 1:
                made.append(Block("depthwise_separable", name, out_activation="none", **args))
            else:
                made.append(Block("inverted_residual", name, mid_channels=width * stage.expansion, **args))
            width = stage.channels
    return (
        *made,
        Block("conv_norm_act", "head", in_channels=width, out_channels=head, kernel_size=1, **common),
        Block("global_pool", "pool"),
        Block("classifier", "classifier", in_features=head, num_classes=num_classes),
    )


def round_channels(channels: float, divisor: int = 8) -> int:
    """To the nearest multiple, but never more than a tenth below."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


def _deeper(stage: Stage, depth: float) -> Stage:
    return stage._replace(repeats=math.ceil(stage.repeats * depth))
