"""MobileNetV2 (Sandler et al., 2018) in timm's sizes, and two small ones for 32x32 pictures."""

from zoo.models.mobile import Stage, rows, scaled
from zoo.spec import ImageInput, ModelSpec

IMAGENET_STAGES = (
    Stage(1, 16, 1, 1),
    Stage(6, 24, 2, 2),
    Stage(6, 32, 3, 2),
    Stage(6, 64, 4, 2),
    Stage(6, 96, 3, 1),
    Stage(6, 160, 3, 2),
    Stage(6, 320, 1, 1),
)
# name -> (width multiplier, depth multiplier, are the ends exempt)
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
    "mobilenetv2_cifar": (32, (Stage(1, 16, 1, 1), Stage(4, 32, 3, 1), Stage(4, 64, 4, 2), Stage(4, 112, 3, 2)), 384),
    "mobilenetv2_cifar_small": (
        24,
        (Stage(1, 16, 1, 1), Stage(4, 24, 3, 1), Stage(4, 40, 4, 2), Stage(4, 64, 3, 2)),
        256,
    ),
}
CIFAR_INPUT = ImageInput(
    size=(32, 32), mean=(0.4914, 0.4822, 0.4465), std=(0.2470, 0.2435, 0.2616), interpolation="bicubic", crop=1.0
)


def imagenet(name: str, num_classes: int = 1000) -> ModelSpec:
    return ModelSpec(name=name, rows=rows(*scaled(IMAGENET_STAGES, *SIZES[name]), num_classes))


def cifar(name: str, num_classes: int = 10) -> ModelSpec:
    return ModelSpec(name=name, rows=rows(*CIFAR_SIZES[name], num_classes), input=CIFAR_INPUT)
