"""TensorFlow's "same" padding: timm's convolution is the oracle, in floats, in integers and under a training trick."""

from __future__ import annotations

import pytest
import torch
import torch.nn as nn
import torch.nn.functional as F
from hypothesis import example, given
from hypothesis import strategies as st
from timm.layers import Conv2dSame
from torch import Tensor

from zoo import kinds
from zoo.blocks.conv import ConvNormAct
from zoo.blocks.mobile import DepthwiseSeparable, InvertedResidual
from zoo.blocks.padding import PADDINGS, borders
from zoo.engine import reference_execution
from zoo.engine.arithmetic import QParams, dequantize
from zoo.engine.int8.layer import Int8Layer
from zoo.spec import Block, ModelSpec, SpecError
from zoo.train.depthwise_bf16 import subsampled_depthwise

sizes = st.tuples(st.integers(1, 17), st.integers(1, 17))
kernels = st.sampled_from([1, 3, 5, 7])
steps = st.integers(1, 4)


def timms(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """timm's convolution with the same weights."""
    dilation = conv.dilation[0]
    theirs = Conv2dSame(
        conv.in_channels,
        conv.out_channels,
        conv.kernel_size[0],
        conv.stride[0],
        dilation=dilation,
        groups=conv.groups,
        bias=False,
    )
    theirs.weight = conv.weight
    return theirs(x)


@given(sizes, kernels, steps, st.integers(1, 3), st.sampled_from(PADDINGS))
def test_a_stride_divides_the_size(
    size: tuple[int, int], kernel: int, stride: int, dilation: int, padding: str
) -> None:
    left, right, top, bottom = borders(size, kernel, stride, dilation, padding)
    reach = dilation * (kernel - 1)
    for length, before, after in ((size[0], top, bottom), (size[1], left, right)):
        assert before >= 0 and 0 <= after - before <= (padding == "same")
        assert (length + before + after - reach - 1) // stride + 1 == -(-length // stride)
    if stride == 1:
        assert (left, right, top, bottom) == borders(size, kernel, 1, dilation, "symmetric")


@given(sizes, kernels, steps, st.integers(1, 2), st.sampled_from([1, 4]))
def test_a_convolution_is_timms(size: tuple[int, int], kernel: int, stride: int, dilation: int, groups: int) -> None:
    block = ConvNormAct(
        in_channels=4,
        out_channels=8,
        kernel_size=kernel,
        stride=stride,
        dilation=dilation,
        groups=groups,
        padding="same",
        activation="none",
        eps=1e-3,
    )
    block.eval().double()
    x = torch.randn(2, 4, *size, dtype=torch.float64)
    torch.testing.assert_close(block(x), timms(block.conv, x) / (1 + 1e-3) ** 0.5)


@pytest.mark.parametrize("size", [(8, 8), (7, 8), (9, 7)])
@pytest.mark.parametrize("kernel_size", [3, 5])
def test_the_depthwise_part_of_a_block_is_padded(kernel_size: int, size: tuple[int, int]) -> None:
    x = torch.randn(2, 8, *size)
    common = {"in_channels": 8, "out_channels": 16, "kernel_size": kernel_size, "stride": 2, "padding": "same"}
    for block in (DepthwiseSeparable(**common), InvertedResidual(mid_channels=24, **common)):
        parts = block.eval().depthwise
        before = block.expand(x) if isinstance(block, InvertedResidual) else x
        expected = block.project(parts.act(parts.bn(timms(parts.conv, before))))
        torch.testing.assert_close(block(x), expected)
        assert expected.shape[2:] == (-(-size[0] // 2), -(-size[1] // 2))


def test_paddings_differ_only_where_a_window_is_uneven() -> None:
    same, symmetric = (
        ConvNormAct(in_channels=4, out_channels=4, stride=2, padding=padding).eval()
        for padding in ("same", "symmetric")
    )
    symmetric.load_state_dict(same.state_dict())
    odd, even = torch.randn(1, 4, 9, 7), torch.randn(1, 4, 8, 6)
    torch.testing.assert_close(same(odd), symmetric(odd))
    assert not torch.allclose(same(even), symmetric(even))


def test_modules_and_kinds_know_the_same_paddings() -> None:
    assert PADDINGS == kinds.PADDINGS


def test_an_unknown_padding_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Unknown padding 'valid'; choose one of \['same', 'symmetric'\]"):
        ConvNormAct(in_channels=4, out_channels=4, padding="valid")
    row = Block("conv_norm_act", "a", in_channels=3, out_channels=4, padding="valid")
    with pytest.raises(SpecError, match=r"padding is one of \('symmetric', 'same'\), not 'valid'"):
        kinds.check(ModelSpec("bad", (row,)))


@given(
    sizes,
    kernels,
    steps,
    st.integers(1, 2),
    st.booleans(),
    st.sampled_from([0, 1, 128, 255]),
    st.sampled_from(["none", "relu6", "swish"]),
    st.integers(0, 1000),
)
@example((9, 1), 3, 2, 1, False, 0, "none", 0)  # oneDNN with AMX gives other numbers for a result one column wide
@example((16, 2), 5, 2, 2, False, 128, "relu6", 0)
def test_an_int8_layer_is_timms_to_one_unit(
    size: tuple[int, int],
    kernel: int,
    stride: int,
    dilation: int,
    depthwise: bool,
    zero: int,
    activation: str,
    seed: int,
) -> None:
    generator = torch.Generator().manual_seed(seed)
    layer = Int8Layer(
        16,
        16,
        kernel_size=kernel,
        stride=stride,
        dilation=dilation,
        padding="same",
        depthwise=depthwise,
        activation=activation,
    )
    layer.weight.copy_(torch.randint(-127, 128, layer.weight.shape, generator=generator))
    layer.scale.uniform_(1e-4, 1e-2, generator=generator)
    source, target = QParams(0.05, zero), QParams(0.1, 128)
    x = torch.randint(0, 256, (2, 16, *size), dtype=torch.uint8, generator=generator)
    fast = layer(x, source, target)
    with reference_execution():
        reference = layer(x, source, target)
        values = layer(x, source, None)
    assert int((fast.int() - reference.int()).abs().max()) <= 1

    conv = nn.Conv2d(16, 16, kernel, stride, dilation=dilation, groups=16 if depthwise else 1, bias=False).double()
    with torch.no_grad():
        conv.weight.copy_(layer.weight * layer.scale.double()[:, None, None, None])
        exact = timms(conv, dequantize(x, source).double())
    exact = {"none": exact, "relu6": F.relu6(exact), "swish": F.silu(exact)}[activation]
    torch.testing.assert_close(values.double(), exact, rtol=1e-4, atol=1e-3)


def test_one_layer_takes_even_and_odd_sizes_in_turn() -> None:
    layer = Int8Layer(8, 8, kernel_size=3, stride=2, padding="same", depthwise=True, activation="relu6")
    layer.weight.copy_(torch.randint(-127, 128, layer.weight.shape))
    source, target = QParams(0.05, 0), QParams(0.05, 0)
    for size in ((8, 8), (7, 7), (8, 7), (8, 8)):
        x = torch.randint(0, 256, (1, 8, *size), dtype=torch.uint8)
        fast = layer(x, source, target)
        with reference_execution():
            assert int((fast.int() - layer(x, source, target).int()).abs().max()) <= 1
        assert fast.shape == (1, 8, 4, 4)


@pytest.mark.parametrize("size", [(8, 8), (7, 8)])
def test_training_with_subsampled_strides_computes_the_same(size: tuple[int, int]) -> None:
    block = DepthwiseSeparable(in_channels=8, out_channels=8, stride=2, padding="same").eval().double()
    x = torch.randn(2, 8, *size, dtype=torch.float64)
    expected = block(x)
    with subsampled_depthwise(block):
        torch.testing.assert_close(block(x), expected)
