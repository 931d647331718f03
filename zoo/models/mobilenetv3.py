"""MobileNetV3 (Howard et al., 2019) in timm's sizes: found by search, so hardly two of its stages are built alike."""

from typing import Any, NamedTuple

from zoo.models.mobile import round_channels
from zoo.spec import Block, ImageInput, ModelSpec


class Part(NamedTuple):
    """Equal blocks in a row; the first of them has the stride."""

    kernel_size: int
    expansion: float
    channels: int
    repeats: int
    stride: int
    squeezed: bool  # by squeeze-and-excite, a quarter as wide as the expansion
    activation: str


RE, HS = "relu", "hard_swish"
SMALL = (
    (Part(3, 1, 16, 1, 2, True, RE),),
    (Part(3, 4.5, 24, 1, 2, False, RE), Part(3, 3.67, 24, 1, 1, False, RE)),
    (Part(5, 4, 40, 1, 2, True, HS), Part(5, 6, 40, 2, 1, True, HS)),
    (Part(5, 3, 48, 2, 1, True, HS),),
    (Part(5, 6, 96, 3, 2, True, HS),),
)
LARGE = (
    (Part(3, 1, 16, 1, 1, False, RE),),
    (Part(3, 4, 24, 1, 2, False, RE), Part(3, 3, 24, 1, 1, False, RE)),
    (Part(5, 3, 40, 3, 2, True, RE),),
    (Part(3, 6, 80, 1, 2, False, HS), Part(3, 2.5, 80, 1, 1, False, HS), Part(3, 2.3, 80, 2, 1, False, HS)),
    (Part(3, 6, 112, 2, 1, True, HS),),
    (Part(5, 6, 160, 3, 2, True, HS),),
)
# name -> (stages, width multiplier, channels of the last map before that, features behind the pool)
SIZES = {
    "mobilenetv3_small_050": (SMALL, 0.5, 576, 1024),
    "mobilenetv3_small_075": (SMALL, 0.75, 576, 1024),
    "mobilenetv3_small_100": (SMALL, 1.0, 576, 1024),
    "mobilenetv3_large_075": (LARGE, 0.75, 960, 1280),
    "mobilenetv3_large_100": (LARGE, 1.0, 960, 1280),
}
INPUTS = {"mobilenetv3_large_075": ImageInput(interpolation="bilinear")}  # timm has no weights of it


def imagenet(name: str, num_classes: int = 1000) -> ModelSpec:
    stages, multiplier, last, features = SIZES[name]
    width = 16
    rows = [Block("conv_norm_act", "stem", in_channels=3, out_channels=width, stride=2, activation=HS)]
    for number, parts in enumerate(stages, 1):
        blocks = [part._replace(stride=part.stride if i == 0 else 1) for part in parts for i in range(part.repeats)]
        for repeat, block in enumerate(blocks, 1):
            channels = round_channels(block.channels * multiplier)
            rows.append(_row(f"s{number}_{repeat}", block, width, channels))
            width = channels
    # The last stage is one 1x1 convolution, and what other networks call their head comes behind the pool.
    last = round_channels(last * multiplier)
    rows += [
        Block(
            "conv_norm_act",
            f"s{len(stages) + 1}_1",
            in_channels=width,
            out_channels=last,
            kernel_size=1,
            activation=HS,
        ),
        Block("global_pool", "pool"),
        Block("hidden", "hidden", in_features=last, out_features=features, activation=HS),
        Block("classifier", "classifier", in_features=features, num_classes=num_classes),
    ]
    return ModelSpec(name=name, rows=tuple(rows), input=INPUTS.get(name, ImageInput()))


def _row(name: str, block: Part, width: int, channels: int) -> Block:
    middle = round_channels(width * block.expansion)
    args: dict[str, Any] = {
        "in_channels": width,
        "out_channels": channels,
        "kernel_size": block.kernel_size,
        "stride": block.stride,
        "skip": block.stride == 1 and width == channels,
        "activation": block.activation,
    }
    if block.squeezed:
        args |= {"se_channels": round_channels(middle / 4), "se_gate": "hard_sigmoid"}
    if block.expansion == 1:
        return Block("depthwise_separable", name, out_activation="none", **args)
    return Block("inverted_residual", name, mid_channels=middle, **args)
