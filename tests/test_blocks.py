"""Each float block alone: what it computes, the shapes it gives, and how it refuses."""

from __future__ import annotations

import pytest
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from zoo import kinds
from zoo.blocks.activation import ACTIVATIONS, make_activation
from zoo.blocks.conv import ConvNormAct
from zoo.blocks.head import Classifier, Hidden
from zoo.blocks.mobile import DepthwiseSeparable, InvertedResidual
from zoo.blocks.pool import GlobalPool, MaxPool
from zoo.blocks.residual import BasicBlock, Bottleneck
from zoo.blocks.squeeze_excite import GATES, SqueezeExcite


def settled(block: nn.Module) -> nn.Module:
    """In eval mode, with batch norm that does something."""
    for module in block.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, 0.0, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.normal_(module.weight, 1.0, 0.2)
            nn.init.normal_(module.bias, 0.0, 0.2)
    return block.eval().double()


def conv_norm(block: ConvNormAct, x: Tensor) -> Tensor:
    """Convolution and batch norm, written out; the activation is the caller's."""
    conv, bn = block.conv, block.bn
    y = F.conv2d(x, conv.weight, None, conv.stride, conv.padding, conv.dilation, conv.groups)
    assert bn.running_mean is not None
    assert bn.running_var is not None
    scale = bn.weight / (bn.running_var + bn.eps).sqrt()
    return y * scale[:, None, None] + (bn.bias - bn.running_mean * scale)[:, None, None]


def picture(channels: int, height: int = 9, width: int = 7) -> Tensor:
    return torch.randn(2, channels, height, width, dtype=torch.float64)


@pytest.mark.parametrize("eps", [1e-5, 1e-3])
@pytest.mark.parametrize(
    ("kernel_size", "stride", "dilation", "groups"), [(3, 1, 1, 1), (5, 2, 1, 4), (3, 3, 2, 2), (1, 1, 1, 1)]
)
def test_conv_norm_act(kernel_size: int, stride: int, dilation: int, groups: int, eps: float) -> None:
    block = settled(
        ConvNormAct(
            in_channels=4,
            out_channels=8,
            kernel_size=kernel_size,
            stride=stride,
            dilation=dilation,
            groups=groups,
            activation="relu",
            eps=eps,
        )
    )
    x = picture(4)
    y = block(x)
    assert y.shape == (2, 8, -(-9 // stride), -(-7 // stride))
    torch.testing.assert_close(y, conv_norm(block, x).clamp(min=0))


def test_depthwise_separable() -> None:
    block = settled(DepthwiseSeparable(in_channels=8, out_channels=8, skip=True, out_activation="none"))
    x = picture(8)
    y = conv_norm(block.depthwise, x).clamp(0, 6)
    torch.testing.assert_close(block(x), x + conv_norm(block.project, y))
    assert block.depthwise.conv.weight.shape == (8, 1, 3, 3)


def test_inverted_residual_with_squeeze_and_excite() -> None:
    block = settled(
        InvertedResidual(
            in_channels=8,
            mid_channels=24,
            out_channels=16,
            kernel_size=5,
            stride=2,
            activation="hard_swish",
            se_channels=4,
            se_gate="hard_sigmoid",
        )
    )
    x = picture(8)
    y = F.hardswish(conv_norm(block.expand, x))
    y = F.hardswish(conv_norm(block.depthwise, y))
    se = block.se
    pooled = y.mean((2, 3))
    hidden = (pooled @ se.reduce.weight[:, :, 0, 0].T + se.reduce.bias).clamp(min=0)
    gate = ((hidden @ se.expand.weight[:, :, 0, 0].T + se.expand.bias) / 6 + 0.5).clamp(0, 1)
    expected = conv_norm(block.project, y * gate[:, :, None, None])
    assert expected.shape == (2, 16, 5, 4)
    torch.testing.assert_close(block(x), expected)


def test_a_skip_adds_the_input() -> None:
    block = settled(InvertedResidual(in_channels=8, mid_channels=16, out_channels=8, skip=True))
    x = picture(8)
    with_skip = block(x)
    block.skip = False
    torch.testing.assert_close(with_skip, x + block(x))


@pytest.mark.parametrize("projection", [False, True])
def test_basic_block(projection: bool) -> None:
    out, stride = (16, 2) if projection else (8, 1)
    block = settled(BasicBlock(in_channels=8, mid_channels=24, out_channels=out, stride=stride, projection=projection))
    x = picture(8)
    y = conv_norm(block.conv2, conv_norm(block.conv1, x).clamp(min=0))
    beside = conv_norm(block.shortcut, x) if projection else x
    assert y.shape == (2, out, -(-9 // stride), -(-7 // stride))
    torch.testing.assert_close(block(x), (y + beside).clamp(min=0))


@pytest.mark.parametrize("projection", [False, True])
def test_bottleneck(projection: bool) -> None:
    out, stride = (32, 2) if projection else (8, 1)
    widths = {"in_channels": 8, "mid1_channels": 16, "mid2_channels": 24, "out_channels": out}
    block = settled(Bottleneck(**widths, stride=stride, projection=projection))
    x = picture(8)
    y = conv_norm(block.conv2, conv_norm(block.conv1, x).clamp(min=0)).clamp(min=0)
    beside = conv_norm(block.shortcut, x) if projection else x
    torch.testing.assert_close(block(x), (conv_norm(block.conv3, y) + beside).clamp(min=0))
    assert block.conv2.conv.stride == (stride, stride) and block.conv1.conv.stride == (1, 1)


def test_a_residual_block_that_changes_width_needs_a_projection() -> None:
    with pytest.raises(ValueError, match="projection=True"):
        BasicBlock(in_channels=8, mid_channels=8, out_channels=16)


def test_max_pool_leaves_the_border_out() -> None:
    x = -1 - picture(3).abs()  # a border of zeros would win
    y = MaxPool(kernel_size=3, stride=2)(x)
    assert y.shape == (2, 3, 5, 4)
    assert torch.equal(y[:, :, 0, 0], x[:, :, :2, :2].amax((2, 3)))
    assert torch.equal(y[:, :, 1, 1], x[:, :, 1:4, 1:4].amax((2, 3)))


def test_pool_and_classifier() -> None:
    x = picture(6)
    pooled = GlobalPool()(x)
    torch.testing.assert_close(pooled, x.flatten(2).sum(2) / 63)
    block = Classifier(in_features=6, num_classes=3, dropout=0.5).double()
    block.eval()
    torch.testing.assert_close(block(pooled), pooled @ block.fc.weight.T + block.fc.bias)
    block.train()
    assert not torch.equal(block(pooled), block(pooled))


def test_hidden() -> None:
    x = torch.randn(4, 6, dtype=torch.float64) * 8
    block = Hidden(in_features=6, out_features=5).double()
    y = x @ block.fc.weight.T + block.fc.bias
    torch.testing.assert_close(block(x), y * (y + 3).clamp(0, 6) / 6)
    block.act = make_activation("none")
    torch.testing.assert_close(block(x), y)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("none", [-7.0, -1.0, 0.0, 2.0, 7.0]),
        ("relu", [0.0, 0.0, 0.0, 2.0, 7.0]),
        ("relu6", [0.0, 0.0, 0.0, 2.0, 6.0]),
        ("hard_swish", [0.0, -1 / 3, 0.0, 5 / 3, 7.0]),
        (
            "swish",
            [-7 / (1 + 1096.6331584284585), -1 / (1 + 2.718281828459045), 0.0, 2 / (1 + 0.1353352832366127), 6.9936],
        ),
    ],
)
def test_activations(name: str, expected: list[float]) -> None:
    x = torch.tensor([-7.0, -1.0, 0.0, 2.0, 7.0])
    kept = x.clone()
    torch.testing.assert_close(make_activation(name)(x), torch.tensor(expected), rtol=1e-4, atol=1e-5)
    assert torch.equal(x, kept), "an activation wrote over its input"


def test_modules_and_kinds_know_the_same_choices() -> None:
    assert set(ACTIVATIONS) == set(kinds.ACTIVATIONS)
    assert set(GATES) == set(kinds.GATES)


@pytest.mark.parametrize("block", [DepthwiseSeparable, InvertedResidual])
@pytest.mark.parametrize("wrong", [{"stride": 2}, {"out_channels": 16}])
def test_a_skip_that_cannot_be_added_is_refused(block: type[nn.Module], wrong: dict[str, int]) -> None:
    args = {"in_channels": 8, "out_channels": 8, "skip": True, **wrong}
    if block is InvertedResidual:
        args["mid_channels"] = 16
    with pytest.raises(ValueError, match="A skip needs stride 1 and equal widths"):
        block(**args)


def test_an_unknown_choice_names_the_valid_ones() -> None:
    with pytest.raises(ValueError, match=r"Unknown activation 'gelu'; choose one of \['hard_swish'"):
        ConvNormAct(in_channels=3, out_channels=8, activation="gelu")
    with pytest.raises(ValueError, match=r"Unknown gate 'tanh'; choose one of \['hard_sigmoid', 'sigmoid'\]"):
        SqueezeExcite(channels=8, reduced_channels=4, gate="tanh")


def test_an_even_kernel_is_refused() -> None:
    with pytest.raises(ValueError, match="A kernel's size is odd, not 4"):
        ConvNormAct(in_channels=3, out_channels=8, kernel_size=4)


@pytest.mark.parametrize(
    "block", [ConvNormAct, DepthwiseSeparable, InvertedResidual, SqueezeExcite, Hidden, Classifier]
)
def test_arguments_are_keywords_and_a_typo_is_an_error(block: type[nn.Module]) -> None:
    with pytest.raises(TypeError, match="positional"):
        block(8, 8)
    with pytest.raises(TypeError, match="out_chanels"):
        block(out_chanels=8)
