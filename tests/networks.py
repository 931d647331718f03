"""Small networks with statistics like trained ones, and one with everything that makes int8 hard."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, TypeVar

import pytest
import torch
import torch.nn as nn

from reduced import reduced, structure
from zoo import registry
from zoo.blocks.table_rows import Table
from zoo.model.build import Model, build
from zoo.spec import Block, ImageInput, ModelSpec, TableInput, TextInput

_TRANSFORMERS = tuple(f"zoo.models.{family}" for family in ("vit", "bert", "gpt", "marian", "t5"))
_HYBRIDS = tuple(name for name, of in registry.MODELS.items() if of == "zoo.models.vit:cifar")
HYBRIDS = _HYBRIDS[:1]  # convolutions in front of blocks of Transformers
TRANSFORMERS = tuple(
    name for name, of in registry.MODELS.items() if of.startswith(_TRANSFORMERS) and name not in _HYBRIDS
)
PICTURES = tuple(name for name in registry.MODELS if isinstance(registry.spec(name).input, ImageInput))
CONVOLUTIONAL = tuple(name for name in PICTURES if name not in (*TRANSFORMERS, *_HYBRIDS))
RECOMMENDERS = tuple(name for name in registry.MODELS if isinstance(registry.spec(name).input, TableInput))
# One of each structure; the others differ in their widths and depths.
EACH_CONVOLUTIONAL = tuple({structure(registry.spec(name)): name for name in reversed(CONVOLUTIONAL)}.values())
EACH_TRANSFORMER = (
    "vit_tiny_patch16_224",
    "deit_tiny_distilled_patch16_224",
    "bert_base_uncased",
    "all_minilm_l6_v2",
    "mpnet_base",
    "albert_base_v2",
    "gpt2",
    "llama3_2_1b",
    "marian_base",
    "t5_v1_1_small",
)

# One of each kind: plain, inverted and residual blocks of both sorts, gates, "same" borders, pixels, boxes.
KINDS_OF_CONVOLUTIONAL = (
    "mobilenetv1_100",
    "mobilenetv2_035",
    "mobilenetv3_small_050",
    "tf_efficientnet_b0",
    "resnet20",
    "resnet50",
    "lraspp",
    "ssdlite",
)

Network = TypeVar("Network", bound=nn.Module)


def by_structure(names: Iterable[str]) -> list[Any]:
    """For `parametrize`: one name of each structure in every run of the tests, the others nightly."""
    return [
        name if name in (*EACH_CONVOLUTIONAL, *EACH_TRANSFORMER) else pytest.param(name, marks=pytest.mark.nightly)
        for name in names
    ]


def lively(spec: ModelSpec) -> Model:
    """The network with random batch-norm statistics, so that no channel is like another."""
    return randomize(build(spec))


def randomize(model: Network) -> Network:
    """Statistics and affine parameters that no default value could stand in for; in eval mode."""
    transformer = any(isinstance(module, (nn.LayerNorm, nn.RMSNorm)) for module in model.modules())
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, 0.0, 0.3)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0.0, 0.3)
        elif isinstance(module, (nn.LayerNorm, nn.RMSNorm)):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            if getattr(module, "bias", None) is not None:
                nn.init.normal_(module.bias, 0.0, 0.3)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0.0, 0.05 if transformer else 0.3)
            if transformer and module.bias is not None:
                nn.init.normal_(module.bias, 0.0, 0.1)
        elif isinstance(module, (nn.Embedding, Table)):
            nn.init.normal_(module.weight, 0.0, 0.5)
    return model.eval()


def small(arch: str) -> Model:
    """A registered architecture at reduced width and resolution."""
    return lively(reduced(registry.spec(arch)))


def gated(activation: str, gate: str = "sigmoid") -> Model:
    """Squeeze-and-excite, a signed activation, strides of 2, skips: what naive int8 loses most on."""
    common = {"activation": activation, "se_channels": 8, "se_activation": "relu", "se_gate": gate}
    wide = {"kernel_size": 5}
    rows = (
        Block("conv_norm_act", "stem", in_channels=3, out_channels=16, stride=2, activation=activation),
        Block("depthwise_separable", "a", in_channels=16, out_channels=16, skip=True, out_activation="none", **common),
        Block("inverted_residual", "b", in_channels=16, mid_channels=48, out_channels=24, stride=2, **wide, **common),
        Block("inverted_residual", "c", in_channels=24, mid_channels=72, out_channels=24, skip=True, **common),
        Block("conv_norm_act", "head", in_channels=24, out_channels=64, kernel_size=1, activation=activation),
        Block("global_pool", "pool"),
        Block("classifier", "classifier", in_features=64, num_classes=10),
    )  # fmt: skip
    return lively(ModelSpec("gated", rows, ImageInput(size=(32, 32))))


def mixed() -> Model:
    """A row of every kind, with borders that differ from side to side."""
    wide, common = {"padding": "same", "kernel_size": 5}, {"activation": "swish", "se_channels": 8}
    middle = {"mid1_channels": 8, "mid2_channels": 16}
    rows = (
        Block("conv_norm_act", "stem", in_channels=3, out_channels=16, stride=2, padding="same", activation="swish"),
        Block("max_pool", "max"),
        Block("bottleneck", "a", in_channels=16, out_channels=24, stride=2, projection=True, **middle),
        Block("inverted_residual", "b", in_channels=24, mid_channels=48, out_channels=24, stride=2, **wide, **common),
        Block(
            "inverted_residual", "c", in_channels=24, mid_channels=48, out_channels=24, skip=True, activation="relu6"
        ),
        Block("global_pool", "pool"),
        Block("hidden", "hidden", in_features=24, out_features=40, activation="hard_swish"),
        Block("classifier", "classifier", in_features=40, num_classes=10),
    )
    return lively(ModelSpec("mixed", rows, ImageInput(size=(64, 64))))


def sums() -> Model:
    """A residual sum of every kind, "same" borders and a max pool, and nothing that must be in floats between them."""
    middle = {"mid1_channels": 8, "mid2_channels": 16}
    rows = (
        Block("conv_norm_act", "stem", in_channels=3, out_channels=16, stride=2, padding="same", activation="relu6"),
        Block("max_pool", "max"),
        Block("basic_block", "a", in_channels=16, mid_channels=16, out_channels=16),
        Block("bottleneck", "b", in_channels=16, out_channels=24, stride=2, projection=True, **middle),
        Block("inverted_residual", "c", in_channels=24, mid_channels=48, out_channels=24, skip=True, padding="same"),
        Block("global_pool", "pool"),
        Block("classifier", "classifier", in_features=24, num_classes=10),
    )
    return lively(ModelSpec("sums", rows, ImageInput(size=(32, 32))))


def joined() -> Model:
    """Rows that join and part maps, each kind once: slices of one map, concatenations, sums, pools, gate and head."""
    first, back = {"activation": "relu"}, {"kernel_size": 1, "activation": "relu"}
    rows = (
        Block("conv_norm_act", "stem", in_channels=3, out_channels=16, stride=2, **first),
        Block("conv_norm_act", "a", in_channels=16, out_channels=16, **first),
        Block("slice", "second", channels=8, before=8),
        Block("conv_norm_act", "b", in_channels=8, out_channels=8, **first),
        Block("branch", "again", taps=("a",)),
        Block("slice", "first", channels=8, after=8),
        Block("conv_norm_act", "c", in_channels=8, out_channels=8, stride=2, **first),
        Block("avg_pool", "smooth", stride=1),
        Block("upsample", "up", taps=("b",), mode="nearest"),
        Block("concat", "cat", taps=("b", "a"), in_channels=8, tap0_channels=8, tap1_channels=16),
        Block("conv_norm_act", "d", in_channels=32, out_channels=16, **back),
        Block("add", "sum", taps=("a",), channels=16, activation="relu"),
        Block("adaptive_avg_pool", "grid", size=3),
        Block("conv_norm_act", "e", in_channels=16, out_channels=16, **back),
        Block("upsample", "grown", taps=("sum",)),
        Block("channel_gate", "gate", taps=("d",), channels=16, gate_channels=16),
        Block("upsample", "finer", scale_factor=2),
        Block("segmentation_head", "classifier", taps=("input", "b"), in_channels=16, side_channels=8, num_classes=5),
    )
    return lively(ModelSpec("joined", rows, ImageInput(size=(32, 40)), "image-segmentation"))


def tiny() -> Model:
    """Two convolutions and a sum: for what holds of every network alike, and costs time with every row."""
    rows = (
        Block("conv_norm_act", "stem", in_channels=3, out_channels=8, stride=2, activation="relu"),
        Block("basic_block", "a", in_channels=8, mid_channels=8, out_channels=8),
        Block("global_pool", "pool"),
        Block("classifier", "classifier", in_features=8, num_classes=10),
    )
    return lively(ModelSpec("tiny", rows, ImageInput(size=(32, 32))))


def inputs(model: Model, count: int = 4) -> tuple[torch.Tensor, ...]:
    """Random inputs of the model's own size, as its call takes them: pictures, or tokens and a mask with padding."""
    if isinstance(model.spec.input, ImageInput):
        return (pictures(model, count),)
    if not isinstance(model.spec.input, TextInput):
        return (model.spec.input.example(count),)
    ids = torch.randint(2, model.spec.input.vocabulary, (count, model.spec.input.length))
    mask = torch.ones_like(ids)
    mask[0, -5:] = 0
    return ids.masked_fill(mask == 0, 1), mask


def calibration_of(model: Model) -> object:
    """What int8 is ranged on, as users give it."""
    given = inputs(model, 16)
    return given[0] if len(given) == 1 else {"input_ids": given[0], "attention_mask": given[1]}


def answer(model: torch.nn.Module, given: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """The main output for `inputs`; of texts where there is no padding, since nobody reads what stands there."""
    y = model(*given)
    if isinstance(y, torch.Tensor):
        return y
    found = y.answer
    return found if found.dim() == 2 or len(given) == 1 else found * given[1][..., None]


def pictures(model: Model, count: int = 16) -> torch.Tensor:
    """Random pictures of the model's own size."""
    return torch.randn(count, model.spec.input.channels, *model.spec.input.size)


def schema_for(name: str, schema: TableInput) -> TableInput:
    """Crosses are for networks with a linear part."""
    return schema if name in ("wide_deep", "deepfm") else replace(schema, crosses=())
