"""EfficientNet (Tan and Le, 2019): inverted residuals with squeeze-and-excite and swish.

The Lite ones have neither, and ReLU6: they are made for integers. timm's `tf_` twins compute as the TensorFlow
originals do: another padding and another epsilon, for the weights that were trained so. Two small ones for 32x32
pictures.
"""

from typing import Any

from zoo.models.mobile import Stage, rows, scaled
from zoo.models.mobilenetv2 import CIFAR_INPUT
from zoo.spec import ImageInput, ModelSpec

IMAGENET_STAGES = (
    Stage(1, 16, 1, 1),
    Stage(6, 24, 2, 2),
    Stage(6, 40, 2, 2, 5),
    Stage(6, 80, 3, 2),
    Stage(6, 112, 3, 1, 5),
    Stage(6, 192, 4, 2, 5),
    Stage(6, 320, 1, 1),
)
SCALES = {"0": (1.0, 1.0), "1": (1.0, 1.1), "2": (1.1, 1.2), "3": (1.2, 1.4), "4": (1.4, 1.8)}  # width, depth


def _input(size: int, crop: float, **others: Any) -> ImageInput:
    return ImageInput(size=(size, size), crop=crop, **others)


_HALF: dict[str, Any] = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
# What timm's own weights of each name take; the last digit of a name is its scale.
INPUTS = {
    "efficientnet_b0": _input(224, 0.875),
    "efficientnet_b1": _input(240, 0.9, **_HALF),
    "efficientnet_b2": _input(256, 0.875),
    "efficientnet_b3": _input(288, 0.875),
    "efficientnet_b4": _input(320, 0.875),
    "efficientnet_lite0": _input(224, 0.875),
    "efficientnet_lite1": _input(240, 0.882),
    "efficientnet_lite2": _input(260, 0.89),
    "efficientnet_lite3": _input(300, 0.904),
    "efficientnet_lite4": _input(380, 0.922),
    "tf_efficientnet_b0": _input(224, 0.875),
    "tf_efficientnet_b1": _input(240, 0.882),
    "tf_efficientnet_b2": _input(260, 0.89),
    "tf_efficientnet_b3": _input(300, 0.904),
    "tf_efficientnet_b4": _input(380, 0.922),
    "tf_efficientnet_lite0": _input(224, 0.875, **_HALF),
    "tf_efficientnet_lite1": _input(240, 0.882, **_HALF),
    "tf_efficientnet_lite2": _input(260, 0.89, **_HALF),
    "tf_efficientnet_lite3": _input(300, 0.904, interpolation="bilinear", **_HALF),
    "tf_efficientnet_lite4": _input(380, 0.92, interpolation="bilinear", **_HALF),
}
# name -> (stem, stages, head). Kernels of 3 alone: a 5x5 depthwise gradient takes twenty times as long on a CPU;
# 16x16 positions behind the stem, as in mobilenetv2_cifar
CIFAR_SIZES = {
    "efficientnet_cifar": (24, (Stage(1, 16, 1, 1), Stage(4, 32, 2, 1), Stage(4, 64, 3, 2), Stage(4, 112, 3, 2)), 384),
    "efficientnet_cifar_small": (
        24,
        (Stage(1, 16, 1, 1), Stage(4, 24, 2, 1), Stage(4, 40, 2, 2), Stage(4, 80, 2, 2)),
        256,
    ),
}


def imagenet(name: str, num_classes: int = 1000) -> ModelSpec:
    width, depth = SCALES[name[-1]]
    lite = "_lite" in name
    common: dict[str, Any] = {"activation": "relu6" if lite else "swish"}
    if name.startswith("tf_"):
        common |= {"padding": "same", "eps": 1e-3}
    made = rows(
        *scaled(IMAGENET_STAGES, width, depth, fixed_ends=lite),
        num_classes,
        se_activation=None if lite else "swish",
        **common,
    )
    return ModelSpec(name=name, rows=made, input=INPUTS[name])


def cifar(name: str, num_classes: int = 10) -> ModelSpec:
    made = rows(*CIFAR_SIZES[name], num_classes, se_activation="swish", activation="swish")
    return ModelSpec(name=name, rows=made, input=CIFAR_INPUT)
