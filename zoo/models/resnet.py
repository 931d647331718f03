"""ResNet (He et al., 2016) in timm's sizes ("v1.5": the stride in the 3x3 convolution), and for 32x32 pictures."""

from typing import Any

from zoo.models.mobilenetv2 import CIFAR_INPUT
from zoo.spec import Block, ImageInput, ModelSpec

# name -> (kind, repeats of the four stages)
SIZES = {
    "resnet18": ("basic_block", (2, 2, 2, 2)),
    "resnet34": ("basic_block", (3, 4, 6, 3)),
    "resnet50": ("bottleneck", (3, 4, 6, 3)),
    "resnet101": ("bottleneck", (3, 4, 23, 3)),
    "resnet152": ("bottleneck", (3, 8, 36, 3)),
}
IMAGENET_WIDTHS = (64, 128, 256, 512)
# name -> (widths of the three stages, repeats of each); a student of ResNet-20 beside the paper's own
CIFAR_SIZES = {
    "resnet20": ((16, 32, 64), 3),
    "resnet32": ((16, 32, 64), 5),
    "resnet56": ((16, 32, 64), 9),
    "resnet20_small": ((16, 24, 48), 2),
}


def imagenet(name: str, num_classes: int = 1000) -> ModelSpec:
    kind, repeats = SIZES[name]
    stem = Block("conv_norm_act", "stem", in_channels=3, out_channels=64, kernel_size=7, stride=2, activation="relu")
    rows = [stem, Block("max_pool", "max_pool", kernel_size=3, stride=2)]
    made = _rows(rows, kind, IMAGENET_WIDTHS, repeats, num_classes)
    return ModelSpec(name=name, rows=made, input=ImageInput(crop=0.95))


def cifar(name: str, num_classes: int = 10) -> ModelSpec:
    """The paper's networks for small pictures; its shortcut "B", a projection where the width changes."""
    widths, repeats = CIFAR_SIZES[name]
    rows = [Block("conv_norm_act", "stem", in_channels=3, out_channels=widths[0], kernel_size=3, activation="relu")]
    return ModelSpec(
        name=name,
        rows=_rows(rows, "basic_block", widths, (repeats,) * len(widths), num_classes),
        input=CIFAR_INPUT,
    )


def _rows(
    rows: list[Block], kind: str, widths: tuple[int, ...], repeats: tuple[int, ...], num_classes: int
) -> tuple[Block, ...]:
    before = widths[0]
    for stage, (width, count) in enumerate(zip(widths, repeats, strict=True), 1):
        out = width if kind == "basic_block" else 4 * width
        names = ("mid_channels",) if kind == "basic_block" else ("mid1_channels", "mid2_channels")
        middle: dict[str, Any] = dict.fromkeys(names, width)
        for repeat in range(1, count + 1):
            stride = 2 if stage > 1 and repeat == 1 else 1
            projection = stride != 1 or before != out
            rows.append(
                Block(
                    kind,
                    f"s{stage}_{repeat}",
                    in_channels=before,
                    out_channels=out,
                    stride=stride,
                    projection=projection,
                    **middle,
                )
            )
            before = out
    head = Block("classifier", "classifier", in_features=before, num_classes=num_classes)
    return (*rows, Block("global_pool", "pool"), head)
