"""Quantization-aware training: int8 forward, hand-written gradients backward, and the way there and back."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from daily import daily
from networks import EACH_CONVOLUTIONAL, KINDS_OF_CONVOLUTIONAL, gated, pictures, small
from qat_networks import OPTIMIZERS, rows_agree, train
from zoo.catalog.info import info
from zoo.engine.arithmetic import QParams, dequantize, quantize, quantize_weight
from zoo.engine.qat.layer import QatLayer
from zoo.engine.qat.rounding import LearnedQParams, fake_quantize, fake_quantize_weight
from zoo.model.build import Model, build_row
from zoo.passes.compress import compress
from zoo.passes.qat import prepare_qat
from zoo.spec import Block
from zoo.weights.file import load, save_file


def network(name: str) -> Model:
    return gated("hard_swish") if name == "gated" else small(name)


@pytest.mark.parametrize("name", daily([*EACH_CONVOLUTIONAL, "gated"], [*KINDS_OF_CONVOLUTIONAL, "gated"]))
def test_it_answers_as_int8_will_before_training_and_after(name: str) -> None:
    model = network(name)
    x = pictures(model, 4)
    qat = prepare_qat(model, pictures(model, 32))
    rows_agree(qat, x)
    for make in OPTIMIZERS.values():
        before = {key: value.clone() for key, value in qat.state_dict().items()}
        train(qat, make)
        after = qat.state_dict()
        assert all(not torch.equal(after[k], before[k]) for k, _ in qat.named_parameters() if "log_scale" not in k)
        assert any(not torch.equal(after[k], before[k]) for k in before if k.endswith("log_scale"))
        assert all(torch.equal(after[k], before[k]) for k in before if k.endswith("edges"))
        rows_agree(qat, x)


def test_untrained_it_is_the_int8_network() -> None:
    for model in (small("mobilenetv2_cifar"), gated("swish"), small("resnet18")):
        x = pictures(model, 32)
        direct = compress(model, "int8", calibration=x).state_dict()
        state = compress(prepare_qat(model, x), "int8").state_dict()
        assert state.keys() == direct.keys() and all(torch.equal(state[key], direct[key]) for key in state)


@pytest.mark.parametrize("name", ["mobilenetv2_cifar", "mobilenetv3_small_050", "resnet50", "gated"])
def test_from_int8_and_back_are_the_same_codes(name: str) -> None:
    model = network(name)
    int8 = compress(model, "int8", calibration=pictures(model, 32), keep_float=(model.spec.rows[1].name,))
    qat = prepare_qat(int8)
    assert [row.precision for row in qat.spec].count("float32") == 1
    rows_agree(qat, pictures(model, 4))
    again = compress(qat, "int8")
    assert again.spec == int8.spec
    for key, value in int8.state_dict().items():
        if key.endswith("scale"):
            torch.testing.assert_close(again.state_dict()[key], value, rtol=1e-6, atol=0)
        else:
            assert torch.equal(again.state_dict()[key], value), key


@given(st.integers(0, 255), st.floats(1e-3, 1.0), st.floats(0.1, 300), st.integers(0, 2**31))
def test_activations_round_as_int8s_and_pass_lsqs_gradients(zero: int, scale: float, size: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = (size * scale * torch.randn(3, 4, 5, 5, generator=generator)).requires_grad_()
    s = torch.tensor(scale, requires_grad=True)
    upstream = torch.randn(x.shape, generator=generator)
    qparams = QParams(s.item(), zero)
    y = fake_quantize(x, LearnedQParams(s, torch.tensor(float(zero))))
    assert torch.equal(y, dequantize(quantize(x.detach(), qparams), qparams))
    y.backward(upstream)

    level = (x.detach() * (1 / s.item())).round().double()  # ties fall as they do in float32
    x64, s64 = x.detach().double().requires_grad_(), s.detach().double().requires_grad_()
    rounded = x64 / s64 + (level - x64 / s64).detach()
    ends = level.clamp(-zero, 255 - zero)
    (torch.where(level == ends, rounded, ends) * s64).backward(upstream.double())
    torch.testing.assert_close(x.grad.double(), x64.grad)
    expected = s64.grad / (x.numel() * 255) ** 0.5
    torch.testing.assert_close(s.grad.double(), expected, rtol=1e-3, atol=1e-4)


def test_weights_round_as_int8s_and_gradients_pass_straight_through() -> None:
    weight = torch.randn(6, 4, 3, 3)
    weight[2] = 0
    weight.requires_grad_()
    codes, scale = quantize_weight(weight.detach())
    rounded = fake_quantize_weight(weight)
    assert torch.equal(rounded, codes.float() * scale.view(-1, 1, 1, 1)) and not rounded[2].any()
    upstream = torch.randn(weight.shape)
    rounded.backward(upstream)
    assert torch.equal(weight.grad, upstream)


def test_the_gradients_of_a_row_by_hand() -> None:
    """Linear layer and ReLU: what comes back to input, weight, bias and both ends' scales."""
    row = build_row(Block("hidden", "row", "qat", in_features=5, out_features=3, activation="relu"))
    with torch.no_grad():
        row.fc.weight.normal_(), row.fc.bias.normal_(), row.log_scale.fill_(0.3)
        row.edges.copy_(torch.tensor([[0.02, 128.0], [0.01, 0.0]]))
    x, upstream = torch.randn(7, 5, requires_grad=True), torch.randn(7, 3)
    row(x).backward(upstream)

    entry = QParams(row.edges[0, 0].item(), 128)
    scale = (row.edges[1, 0] * row.log_scale.exp()).item()
    values = dequantize(quantize(x.detach(), entry), entry)
    weight = fake_quantize_weight(row.fc.weight.detach())
    out = F.relu(values @ weight.T + row.fc.bias.detach())
    level = (out / scale).round()
    inside = level <= 255
    passed = upstream * inside * (out > 0)
    in_range = (x.detach() / entry.scale).round().add(128)
    in_range = (in_range >= 0) & (in_range <= 255)
    slope = torch.where(inside, level - out / scale, torch.full_like(out, 255.0))
    torch.testing.assert_close(row.fc.weight.grad, passed.T @ values)
    torch.testing.assert_close(row.fc.bias.grad, passed.sum(0))
    torch.testing.assert_close(x.grad, (passed @ weight) * in_range)
    expected = scale * (slope * upstream).sum() / (out.numel() * 255) ** 0.5
    torch.testing.assert_close(row.log_scale.grad, expected.view(1), rtol=1e-4, atol=1e-5)


def test_a_row_behind_codes_does_not_round_again() -> None:
    row = build_row(Block("hidden", "row", "qat", in_features=5, out_features=3))
    with torch.no_grad():
        row.fc.weight.normal_(), row.edges.copy_(torch.tensor([[0.5, 100.0], [1e-4, 128.0]]))
    x = torch.randn(2, 5)
    coarse = row(x)
    row.reads = "uint8"
    assert not torch.equal(row(x), coarse)
    assert "reads=uint8" in repr(row)


def test_the_head_drops_out_in_training_alone() -> None:
    head = build_row(Block("classifier", "head", "qat", in_features=64, num_classes=4, dropout=0.5))
    with torch.no_grad():
        head.fc.weight.normal_(), head.edges.copy_(torch.tensor([[0.02, 128.0]] * 2))
    x = torch.randn(2, 64)
    assert torch.equal(head.eval()(x), head(x)) and not torch.equal(head.train()(x), head(x))


@pytest.mark.parametrize("how", [{"linear": True}, {"kernel_size": 5, "stride": 2, "padding": "same"}])
def test_a_leaf_is_the_float_layer_of_its_rounded_weights(how: dict) -> None:
    layer = QatLayer(4, 6, activation="hard_swish", **how)
    with torch.no_grad():
        layer.weight.normal_(), layer.bias.normal_()
    weight = fake_quantize_weight(layer.weight)
    x = torch.randn(2, 4) if layer.linear else torch.randn(2, 4, 8, 8)
    if layer.linear:
        expected = F.linear(x, weight, layer.bias)
    else:
        expected = F.conv2d(F.pad(x, (1, 2, 1, 2)), weight, layer.bias, 2)
    torch.testing.assert_close(layer(x, None, None), F.hardswish(expected))


@pytest.mark.parametrize("name", ["mobilenetv2_cifar", "gated", "resnet18"])
def test_copies_files_and_moves(name: str, tmp_path) -> None:
    model = network(name)
    qat = prepare_qat(model, pictures(model), keep_float=(model.spec.rows[2].name,))
    train(qat, OPTIMIZERS["sgd"])
    x = pictures(model, 2)
    save_file(qat, tmp_path / "qat.safetensors")
    loaded = load(tmp_path / "qat.safetensors")
    assert loaded.spec == qat.spec and loaded.made == qat.made and info(tmp_path / "qat.safetensors").variant == "qat"
    halved = copy.deepcopy(qat).half().to("meta").to_empty(device="cpu")
    expected_keys = {key: (value.dtype, value.shape) for key, value in qat.state_dict().items() if ".bn." not in key}
    with torch.inference_mode():
        y = qat(x)
        for other in (copy.deepcopy(qat), pickle.loads(pickle.dumps(qat)), loaded):
            assert all(torch.equal(other.state_dict()[k], v) for k, v in qat.state_dict().items())
            torch.testing.assert_close(other(x), y, rtol=0, atol=1e-5 * float(y.abs().max()))
    rows = [row.name for row in qat.spec if row.precision == "qat"]
    found = {key: (value.dtype, value.shape) for key, value in halved.state_dict().items() if key.split(".")[0] in rows}
    assert found == {key: value for key, value in expected_keys.items() if key.split(".")[0] in rows}
    assert [key for key, p in loaded.named_parameters() if not p.requires_grad] == ["classifier.log_scale"]
    train(loaded, OPTIMIZERS["adamw"])


@pytest.mark.parametrize("name", ["mobilenetv2_cifar", "gated", "resnet50"])
def test_it_trains_in_bfloat16_and_channels_last(name: str) -> None:
    model = network(name)
    qat = prepare_qat(model, pictures(model, 32))
    x = pictures(model, 4)
    with torch.inference_mode():
        expected = qat(x)
    qat.to(memory_format=torch.channels_last).train()
    with torch.autocast("cpu", torch.bfloat16):
        y = qat(x.to(memory_format=torch.channels_last))
    F.cross_entropy(y.float(), torch.arange(4)).backward()
    assert F.cosine_similarity(y.float(), expected).min() > 0.9
    grads = {key: p.grad for key, p in qat.named_parameters() if p.requires_grad}
    assert all(grad is not None and grad.isfinite().all() and grad.dtype == torch.float32 for grad in grads.values())


def test_training_learns() -> None:
    torch.manual_seed(1)
    qat = prepare_qat(small("mobilenetv2_cifar"), pictures(small("mobilenetv2_cifar"), 32))
    losses = train(qat, OPTIMIZERS["adamw"], steps=30)
    assert losses[-1] < 0.2 * losses[0]


def test_zeros_stay_zeros() -> None:
    model = compress(small("mobilenetv2_cifar"), "sparse", sparsity=0.7)
    zeros = {
        key: value == 0 for key, value in compress(model, "int8", calibration=pictures(model)).state_dict().items()
    }
    qat = prepare_qat(model, pictures(model))
    masks = {key: value != 0 for key, value in qat.named_parameters() if key.endswith("weight")}
    train(qat, OPTIMIZERS["sgd"])
    with torch.no_grad():
        for key, mask in masks.items():
            qat.get_parameter(key).mul_(mask)
    after = compress(qat, "int8").state_dict()
    share = sum(int((~mask).sum()) for mask in masks.values()) / sum(mask.numel() for mask in masks.values())
    assert share > 0.6
    for key, mask in masks.items():
        assert not after[key][~mask].any() and zeros[key][~mask].all()
