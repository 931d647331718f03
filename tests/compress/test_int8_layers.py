"""Single int8 layers and operators: both executions agree to one unit, and wrong operators are not trusted."""

from __future__ import annotations

import threading
from contextlib import nullcontext
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

import zoo
from int8_networks import quantized
from processors import KINDS, running_as
from zoo.engine import reference_execution, runs_fast
from zoo.engine.arithmetic import QParams, quantize
from zoo.engine.cpu import codes, onednn
from zoo.engine.int8.layer import Int8Layer
from zoo.engine.int8.tokens import TokenLinear
from zoo.model.build import build_row
from zoo.spec import Block


@given(st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3, 5]), st.integers(1, 3))
def test_the_largest_code_is_that_of_the_largest_value(height: int, width: int, kernel: int, stride: int) -> None:
    pool = build_row(Block("max_pool", "pool", "int8", kernel_size=kernel, stride=stride))
    pool.edges.copy_(torch.tensor([[0.5, 100.0]]))
    codes = torch.randint(0, 256, (2, 3, height, width), dtype=torch.uint8)
    expected = F.max_pool2d((codes.float() - 100) * 0.5, kernel, stride, kernel // 2)
    assert torch.equal(pool(codes), expected)


@given(
    st.sampled_from([1, 3]),
    st.booleans(),
    st.booleans(),
    st.sampled_from([0, 1, 127, 128, 255]),
    st.sampled_from([1e-3, 0.05, 3.0]),
    st.sampled_from([1e-3, 0.1, 50.0]),
    st.sampled_from(["none", "relu6", "hard_swish"]),
    st.sampled_from(["none", "relu", "swish"]),
    st.sampled_from([63, 127]),
    st.sampled_from(KINDS),
    st.integers(0, 1000),
)
def test_any_layer_agrees_to_one_unit(
    kernel: int,
    depthwise: bool,
    skip: bool,
    zero: int,
    scale: float,
    out: float,
    activation: str,
    after: str,
    widest: int,
    kind: str,
    seed: int,
) -> None:
    generator = torch.Generator().manual_seed(seed)
    layer = Int8Layer(16, 16, kernel_size=kernel, depthwise=depthwise, activation=activation)
    layer.weight.copy_(torch.randint(-widest, widest + 1, layer.weight.shape, generator=generator))
    layer.scale.uniform_(1e-4, 1e-2, generator=generator)
    layer.bias.normal_(generator=generator)
    x = torch.randint(0, 256, (2, 16, 5, 6), dtype=torch.uint8, generator=generator)
    more = (x.flip(0), QParams(0.2, 77), after) if skip else ()
    with running_as(kind):
        fast = layer(x, QParams(scale, zero), QParams(out, 128), *more)
    with reference_execution():
        reference = layer(x, QParams(scale, zero), QParams(out, 128), *more)
    assert int((fast.int() - reference.int()).abs().max()) <= 1


@pytest.mark.parametrize("how", [{"kernel_size": 3}, {"kernel_size": 1}, {"kernel_size": 3, "depthwise": True}])
def test_weights_in_any_memory_order(how: dict, processor: str) -> None:
    """Converted checkpoints keep TensorFlow's order, HWIO, which the operators would misread."""
    layer = Int8Layer(16, 16, **how)
    values = torch.randint(-63, 64, layer.weight.shape).to(torch.int8)
    layer.weight = values.permute(2, 3, 1, 0).contiguous().permute(3, 2, 0, 1)
    assert torch.equal(layer.weight, values) and not layer.weight.is_contiguous()
    x = torch.randint(0, 256, (2, 16, 5, 6), dtype=torch.uint8).contiguous(memory_format=torch.channels_last)
    fast = layer(x, QParams(0.1, 3), QParams(100.0, 128))
    with reference_execution():
        reference = layer(x, QParams(0.1, 3), QParams(100.0, 128))
    assert int((fast.int() - reference.int()).abs().max()) <= 1


@pytest.mark.parametrize("way", [codes._by_quantized_tensor, codes._by_lowest_bytes])
@given(st.integers(0, 255), st.floats(1e-3, 10), st.sampled_from([1e-3, 1.0, 1e4]), st.integers(0, 2**31))
def test_codes_are_the_reference_s(way: Any, zero: int, scale: float, size: float, seed: int) -> None:
    """Of values and of gated ones, however many: ties alone may differ, by one."""
    generator = torch.Generator().manual_seed(seed)
    qparams = QParams(scale, zero)
    x = size * torch.randn(2, 3, 5, 7, generator=generator).contiguous(memory_format=torch.channels_last)
    gate = 0.1 + torch.rand(2, 3, 1, 1, generator=generator)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(codes, "_quantizer", lambda: way)
        found = codes.whole_codes(x, qparams)
        gated = codes.gated_codes(x.clone(memory_format=torch.preserve_format), gate, qparams)
        scaled = codes.scaled_codes(x, gate, zero)
    pairs = ((found, x, qparams), (gated, x * gate, qparams), (scaled, x / gate, QParams(1.0, zero)))
    for one, values, on in pairs:
        expected = quantize(values, on)
        assert one.dtype == torch.uint8 and one.is_contiguous(memory_format=torch.channels_last)
        assert (one != expected).float().mean() < 0.05
        assert int((one.int() - expected.int()).abs().max()) <= 1


def test_codes_of_what_trains_do_not() -> None:
    x = torch.randn(4, 4, requires_grad=True)
    assert not codes.whole_codes(x, QParams(0.1, 3)).requires_grad


@pytest.mark.parametrize("rows", [1, 2000])  # multiplied in floats, and by oneDNN
@pytest.mark.parametrize("target", [None, QParams(0.9, 100)])
def test_few_products_agree_as_many_do(rows: int, target: QParams | None) -> None:
    layer, source = TokenLinear(40, 20, activation="relu"), QParams(0.05, 128)
    layer.weight, layer.scale = torch.randint(-127, 128, (20, 40)).to(torch.int8), torch.full((20,), 0.01)
    layer.bias = torch.randn(20)
    x = torch.randint(0, 256, (rows, 40), dtype=torch.uint8)
    found = layer.product(x, source, target)
    with reference_execution():
        expected = layer.product(x, source, target)
    assert found.dtype == expected.dtype and found.float().std() > 0
    torch.testing.assert_close(found.float(), expected.float(), rtol=1e-5, atol=1.0 if target else 1e-4)
    with torch.autocast("cpu"):
        assert torch.equal(layer.product(x, source, target), found)


def test_an_empty_batch_gives_an_empty_answer() -> None:
    _, int8 = quantized("mobilenetv2_cifar")
    assert int8(torch.zeros(0, 3, 32, 32)).shape == (0, 10)


def test_the_reference_is_forced_for_one_thread() -> None:
    cpu = torch.device("cpu")
    entered, left = threading.Event(), threading.Event()
    seen: list[bool] = []

    def other() -> None:
        with reference_execution():
            entered.set()
            left.wait(10)
            seen.append(runs_fast(cpu))

    thread = threading.Thread(target=other)
    with reference_execution():
        thread.start()
        assert entered.wait(10)
    before = runs_fast(cpu)
    left.set(), thread.join()
    assert seen == [False] and runs_fast(cpu) == before == bool(onednn.widest_weight())


@pytest.mark.parametrize("broken", ["add", "relu6", "unpadded"])
def test_wrong_operators_are_not_trusted(broken: str, monkeypatch) -> None:
    if not onednn.widest_weight():
        pytest.skip("this host runs the reference")  # nothing to break
    assert onednn._all_agree(onednn.REDUCED)
    match broken:
        case "add":
            monkeypatch.setattr(onednn.PackedConv, "adding", lambda *settings: lambda x, skip: torch.zeros_like(x))
        case "relu6":
            monkeypatch.setitem(onednn.POST_OPS, "relu6", ("relu", []))
        case "unpadded":
            monkeypatch.setattr(onednn, "F", type("F", (), {"pad": staticmethod(_pad_with_zero)}))
    assert not onednn._all_agree(onednn.REDUCED)


def _pad_with_zero(x: torch.Tensor, pad: list[int], value: int) -> torch.Tensor:
    return F.pad(x, pad)


@pytest.mark.parametrize("forced", [False, True])
def test_autocast_leaves_the_integer_sums_alone(forced: bool) -> None:
    model = zoo.create("efficientnet-int8")
    x = zoo.preprocess(model)(zoo.samples("cifar10").images[:4])
    context = reference_execution() if forced else nullcontext()
    with context, torch.inference_mode():
        expected = model(x)
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(model(x), expected)


def test_the_first_use_under_autocast_still_trusts_the_operators() -> None:
    here = onednn._all_agree(onednn.REDUCED)
    with torch.autocast("cpu", torch.bfloat16):
        assert onednn._all_agree(onednn.REDUCED) == here
