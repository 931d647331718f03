"""MobileNetV2 (Sandler et al., 2018) in timm's sizes, and two small ones for 32x32 pictures."""

from typing import Any

from zoo.spec import Block, ImageInput, ModelSpec

IMAGENET_STAGES = (  # expansion, channels, repeats, stride
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
# name -> (width multiplier, depth multiplier, are stem and head exempt from the width)
SIZES = {
    "mobilenetv2_035": (0.35, 1.0, False),
    "mobilenetv2_050": (0.5, 1.0, False),
    "mobilenetv2_075": (0.75, 1.0, False),
    "mobilenetv2_100": (1.0, 1.0, False),
    "mobilenetv2_110d": (1.1, 1.2, True),
    "mobilenetv2_120d": (1.2, 1.4, True),
    "mobilenetv2_140": (1.4, 1.0, False),
}
# name -> (stem, stages, head); 16x16 positions behind the stem: depthwise gradients at 32x32 would take longest
CIFAR_SIZES = {
    "mobilenetv2_cifar": (32, ((1, 16, 1, 1), (4, 32, 3, 1), (4, 64, 4, 2), (4, 112, 3, 2)), 384),
    "mobilenetv2_cifar_small": (24, ((1, 16, 1, 1), (4, 24, 3, 1), (4, 40, 4, 2), (4, 64, 3, 2)), 256),
}
CIFAR_INPUT = ImageInput(
    size=(32, 32), mean=(0.4914, 0.4822, 0.4465), std=(0.2470, 0.2435, 0.2616), interpolation="bicubic", crop=1.0
)


def imagenet(name: str, num_classes: int = 1000) -> ModelSpec:
    width, depth, fixed_ends = SIZES[name]
    stages = tuple(
        (t, _round_channels(c * width), n if i == 0 and fixed_ends else _ceil(n * depth), s)
        for i, (t, c, n, s) in enumerate(IMAGENET_STAGES)
    )
    if fixed_ends:  # timm keeps the first and the last stage at one repeat
        stages = (*stages[:-1], (*stages[-1][:2], 1, stages[-1][3]))
    stem = 32 if fixed_ends else _round_channels(32 * width)
    head = 1280 if fixed_ends else max(1280, _round_channels(1280 * width))
    return ModelSpec(name=name, rows=_rows(stem, stages, head, num_classes))


def cifar(name: str, num_classes: int = 10) -> ModelSpec:
    return ModelSpec(name=name, rows=_rows(*CIFAR_SIZES[name], num_classes), input=CIFAR_INPUT)


def _rows(stem: int, stages: tuple[tuple[int, int, int, int], ...], head: int, num_classes: int) -> tuple[Block, ...]:
    rows = [Block("conv_norm_act", "stem", in_channels=3, out_channels=stem, kernel_size=3, stride=2)]
    width = stem
    for stage, (expansion, channels, repeats, stride) in enumerate(stages, 1):
        for repeat in range(1, repeats + 1):
            common: dict[str, Any] = {
                "in_channels": width,
                "out_channels": channels,
                "stride": stride if repeat == 1 else 1,
                "skip": repeat > 1 or (stride == 1 and width == channels),
            }
            name = f"s{stage}_{repeat}"
            if expansion == 1:
                rows.append(Block("depthwise_separable", name, out_activation="none", **common))
            else:
                rows.append(Block("inverted_residual", name, mid_channels=width * expansion, **common))
            width = channels
    rows += [
        Block("conv_norm_act", "head", in_channels=width, out_channels=head, kernel_size=1),
        Block("global_pool", "pool"),
        Block("classifier", "classifier", in_features=head, num_classes=num_classes),
    ]
    return tuple(rows)


def _round_channels(channels: float, divisor: int = 8) -> int:
    """To the nearest multiple, but never more than a tenth below."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


def _ceil(value: float) -> int:
    return -int(-value // 1)
