"""ViT (Dosovitskiy et al., 2021) and DeiT (Touvron et al., 2021), as timm and transformers have them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from zoo.models.mobilenetv2 import CIFAR_INPUT
from zoo.spec import Block, ImageInput, ModelSpec

# size -> (width, heads); all are 12 blocks deep, with heads of 64 and an MLP of 4 times the width
SIZES = {"tiny": (192, 3), "small": (384, 6), "base": (768, 12)}
HEAD_DIM = 64
# name -> (widths of the convolutions in front, width, blocks), for 32x32 pictures
CIFAR_SIZES = {"vit_cifar": ((32, 64), 96, 4), "vit_cifar_small": ((16, 32), 64, 2)}
_VIT_INPUT = ImageInput(mean=(0.5,) * 3, std=(0.5,) * 3, crop=0.9)
_DEIT_INPUT = ImageInput(crop=0.9)


def imagenet(name: str, num_classes: int = 1000) -> ModelSpec:
    """A distilled DeiT has a second token, that a teacher trained; the mean of both answers counts."""
    family, size, *more = name.split("_")
    dim, heads = SIZES[size]
    distilled = "distilled" in more
    return sized(
        name,
        dim=dim,
        layers=12,
        heads=heads,
        head_dim=HEAD_DIM,
        mlp_dim=4 * dim,
        prefix=2 if distilled else 1,
        head="pair" if distilled else "first",
        num_classes=num_classes,
        takes=_VIT_INPUT if family == "vit" else _DEIT_INPUT,
    )


def cifar(name: str, num_classes: int = 10) -> ModelSpec:
    """For small pictures, with convolutions in front of the patches (Xiao et al., 2021), which need far less data."""
    (first, second), dim, layers = CIFAR_SIZES[name]
    heads = dim // 32
    vit = sized(
        name,
        dim=dim,
        layers=layers,
        heads=heads,
        head_dim=dim // heads,
        mlp_dim=2 * dim,
        prefix=1,
        head="first",
        num_classes=num_classes,
        patch=1,
        size=(8, 8),
    )
    front = (
        Block("conv_norm_act", "stem", in_channels=3, out_channels=first, kernel_size=3, stride=2, activation="relu"),
        Block("basic_block", "s1", in_channels=first, mid_channels=first, out_channels=first),
        Block(
            "basic_block",
            "s2",
            in_channels=first,
            mid_channels=second,
            out_channels=second,
            stride=2,
            projection=True,
        ),
    )
    rows = (*front, vit["embed"].replace(in_channels=second), *vit.rows[1:])
    return ModelSpec(name=name, rows=rows, input=CIFAR_INPUT)


def sized(
    name: str,
    *,
    dim: int,
    layers: int,
    heads: int,
    head_dim: int,
    mlp_dim: int,
    prefix: int,
    head: str,
    num_classes: int,
    patch: int = 16,
    size: tuple[int, int] = (224, 224),
    channels: int = 3,
    qkv_bias: bool = True,
    activation: str = "gelu",
    eps: float = 1e-6,
    takes: ImageInput = _VIT_INPUT,
) -> ModelSpec:
    """Pre-norm blocks on patches behind `prefix` tokens; `head` says which of these answer, "first" or "pair"."""
    block: dict[str, Any] = {
        "dim": dim,
        "heads": heads,
        "head_dim": head_dim,
        "kv_heads": heads,
        "mlp_dim": mlp_dim,
    }
    unusual = {"qkv_bias": (qkv_bias, True), "activation": (activation, "gelu"), "eps": (eps, 1e-6)}
    block |= {key: value for key, (value, usual) in unusual.items() if value != usual}
    grid: dict[str, Any] = {"in_channels": channels, "rows": size[0] // patch, "columns": size[1] // patch}
    norm: dict[str, Any] = {"eps": eps} if eps != 1e-6 else {}
    pool: dict[str, Any] = {"pool": head} if head != "first" else {}
    rows = [
        Block("patch_embedding", "embed", dim=dim, patch=patch, prefix=prefix, **grid),
        *(Block("transformer_block", f"h{i}", **block) for i in range(layers)),
        Block("token_norm", "norm", dim=dim, **norm),
    ]
    if head == "pair" and num_classes:
        rows.append(Block("pair_classifier", "classifier", dim=dim, num_classes=num_classes))
    else:
        rows.append(Block("token_pool", "pool", **pool))
    if head == "first" and num_classes:
        rows.append(Block("classifier", "classifier", in_features=dim, num_classes=num_classes))
    return ModelSpec(name=name, rows=tuple(rows), input=_fitting(takes, size, channels))


def _fitting(takes: ImageInput, size: tuple[int, int], channels: int) -> ImageInput:
    if channels != takes.channels:
        takes = replace(takes, channels=channels, mean=(0.5,) * channels, std=(0.5,) * channels)
    return replace(takes, size=size)
