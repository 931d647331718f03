"""Quantization-aware training: int8 forward, hand-written gradients backward, and the way there and back."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file as write_tensors

from networks import EACH_CONVOLUTIONAL, gated, pictures, small
from zoo.catalog.info import info
from zoo.engine import reference_execution
from zoo.engine.arithmetic import QParams, dequantize, quantize, quantize_weight
from zoo.engine.qat.layer import QatLayer
from zoo.engine.qat.rounding import LearnedQParams, fake_quantize, fake_quantize_weight
from zoo.factory import create
from zoo.model.build import Model, build, build_row, from_state, upto
from zoo.model.editing import edit
from zoo.model.features import Features
from zoo.passes.compress import compress
from zoo.passes.qat import prepare_qat
from zoo.spec import Block
from zoo.weights.file import load, save_file

OPTIMIZERS: dict[str, Callable] = {
    "sgd": lambda p: torch.optim.SGD(p, 0.02, momentum=0.9, weight_decay=1e-4),
    "adamw": lambda p: torch.optim.AdamW(p, 3e-3, weight_decay=0.01),
}
MIXED = ("stem", "s2_2", "classifier")


def network(name: str) -> Model:
    return gated("hard_swish") if name == "gated" else small(name)


def train(model: Model, make: Callable, steps: int = 3, batch: int = 4) -> list[float]:
    """A few steps on the same random pictures and classes; the losses."""
    optimizer, losses = make(model.parameters()), []
    x = pictures(model, batch)
    model.train()
    for _ in range(steps):
        optimizer.zero_grad()
        y = model(x)
        loss = F.cross_entropy(y, torch.arange(batch) % y.shape[1])
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    model.eval()
    return losses


def rows_agree(qat: Model, x: torch.Tensor) -> None:
    """Row by row on the same input, the same codes as the int8 conversion, to one unit an edge."""
    int8 = compress(qat, "int8")
    floats = x
    with torch.inference_mode(), reference_execution():
        for row, ours, theirs in zip(qat.spec.rows, qat.children(), int8.children(), strict=True):
            found, expected = ours(floats), theirs(x)
            x = floats = expected
            if expected.dtype == torch.uint8:
                floats = theirs.dequantize(expected)
                scale, zero = theirs.edges[-1]
                codes = found / scale + zero
                assert (codes - codes.round()).abs().max() < 1e-3, row.name
                off = (codes.round() - expected).abs()
                inside = len(theirs.edges) > 2  # float sums may turn an inner code, which may turn two of the row's
                assert off.max() <= 1 + inside and (off > 1).float().mean() < 1e-3, row.name
            elif row.precision == "float32" or row.kind == "classifier":
                torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))
            else:
                assert (found - expected).abs().max() <= 1.001 * theirs.edges[-1, 0], row.name


@pytest.mark.parametrize("name", [*EACH_CONVOLUTIONAL, "gated"])
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


def test_files_and_states_of_earlier_versions_load(tmp_path) -> None:
    """In these `log_scale` is called `stretch`: bit for bit the same network, and the state that is given stays."""
    model = gated("hard_swish")
    qat = prepare_qat(model, pictures(model))
    train(qat, OPTIMIZERS["sgd"])
    save_file(qat, tmp_path / "now.safetensors")
    with safe_open(tmp_path / "now.safetensors", "pt") as now:
        tensors = {key.replace(".log_scale", ".stretch"): now.get_tensor(key) for key in now.keys()}  # noqa: SIM118
        write_tensors(tensors, tmp_path / "earlier.safetensors", now.metadata())
    state = {key.replace(".log_scale", ".stretch"): value for key, value in qat.state_dict().items()}
    given = dict(state)
    filled = build(qat.spec)
    filled.load_state_dict(state)
    assert sum(key.endswith(".stretch") for key in state) > 3 and state == given
    x = pictures(model, 2)
    for other in (load(tmp_path / "earlier.safetensors"), from_state(qat.spec, state), filled):
        assert list(other.state_dict()) == list(qat.state_dict())
        assert all(torch.equal(other.state_dict()[key], value) for key, value in qat.state_dict().items())
        assert torch.equal(other(x), qat(x))


def test_a_file_with_both_names_of_a_tensor_is_refused(tmp_path) -> None:
    model = gated("hard_swish")
    save_file(prepare_qat(model, pictures(model)), tmp_path / "m.safetensors")
    with safe_open(tmp_path / "m.safetensors", "pt") as now:
        tensors = {key: now.get_tensor(key) for key in now.keys()}  # noqa: SIM118
        tensors["classifier.stretch"] = tensors["classifier.log_scale"].clone()
        write_tensors(tensors, tmp_path / "both.safetensors", now.metadata())
    with pytest.raises(ValueError, match=r"classifier\.stretch"):
        load(tmp_path / "both.safetensors")


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


def test_the_history_tells_one_int8() -> None:
    model = compress(small("mobilenetv2_cifar"), "pruned")
    x = pictures(model, 32)
    qat = prepare_qat(model, x, keep_float=MIXED, observer="minmax")
    assert qat.made["passes"][-1] == {"pass": "qat", "observer": "minmax", "examples": 32, "keep_float": list(MIXED)}
    assert [row.name for row in qat.spec if row.precision == "float32"] == list(MIXED)
    assert qat.spec["s2_1"].emits == "float32" and qat.spec["s2_3"].emits == "uint8"
    rows_agree(qat, x)
    expected = {"pass": "int8", "trained": "quantization-aware", "keep_float": list(MIXED)}
    int8 = compress(qat, "int8")
    for finished in (int8, compress(prepare_qat(int8), "int8")):
        assert [one["pass"] for one in finished.made["passes"]] == ["pruned", "int8"]
        assert finished.made["passes"][-1] == expected and finished.spec == int8.spec
    assert model.made["passes"][-1]["pass"] == "pruned" and model.spec.rows[0].precision == "float32"


def test_a_new_head_of_an_int8_network_trains_as_int8_too() -> None:
    model = small("mobilenetv2_cifar")
    x = pictures(model, 32)
    int8 = edit(compress(model, "int8", calibration=x), "classifier", num_classes=5)
    qat = prepare_qat(int8)
    assert all(row.precision == "qat" for row in qat.spec) and qat.spec["pool"].emits == "uint8"
    assert qat(x).shape == (32, 5)
    train(qat, OPTIMIZERS["adamw"])
    rows_agree(qat, x)
    assert prepare_qat(int8, keep_float=("classifier",)).spec["pool"].emits == "float32"


def test_a_new_row_in_the_middle_asks_for_calibration() -> None:
    model = small("mobilenetv2_cifar")
    x = pictures(model, 32)
    int8 = compress(model, "int8", calibration=x)
    new = edit(int8, "s2_2", kernel_size=5)
    with pytest.raises(ValueError, match=r"s2_2.*calibration="):
        prepare_qat(new)
    qat = prepare_qat(new, x)
    assert all(row.precision == "qat" for row in qat.spec)
    rows_agree(qat, x[:4])
    with torch.inference_mode():
        assert F.cosine_similarity(qat(x), new(x)).mean() > 0.97
    one = edit(int8, "head", kernel_size=3)  # both ends are its neighbours'
    assert all(row.precision == "qat" for row in prepare_qat(one).spec)


def test_editing_in_training_keeps_what_was_learned() -> None:
    model = small("mobilenetv2_cifar")
    qat = prepare_qat(model, pictures(model, 32))
    train(qat, OPTIMIZERS["adamw"])
    learned = qat.get_submodule("s2_2").current_edges[-1]
    edited = edit(qat, "s2_2", kernel_size=5)
    assert edited.spec["s2_2"].precision == "float32" and edited.spec["s2_1"].emits == "float32"
    following = edited.get_submodule("s2_3")
    assert torch.equal(following.edges[0], learned) and following.reads == "float32"
    assert torch.equal(following.log_scale, qat.get_submodule("s2_3").log_scale)
    rows_agree(edited, pictures(model, 4))


def test_taps_features_and_cuts_are_floats() -> None:
    model = small("mobilenetv2_cifar")
    qat = prepare_qat(model, pictures(model, 32))
    x = pictures(model, 4)
    with torch.inference_mode():
        _, expected = model(x, taps=("s2_3",))
        _, tapped = qat(x, taps=("s2_3",))
        assert F.cosine_similarity(expected["s2_3"].flatten(1), tapped["s2_3"].flatten(1)).min() > 0.97
        assert torch.equal(upto(qat, "s2_3")(x), tapped["s2_3"])
        assert all(one.dtype == torch.float32 for one in Features(qat)(x))


def test_a_fresh_one_builds_from_its_spec() -> None:
    spec = prepare_qat(small("mobilenetv2_cifar"), torch.randn(4, 3, 32, 32)).spec
    assert build(spec)(torch.randn(2, 3, 32, 32)).shape == (2, 10)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"calibration": torch.randn(2, 3, 32, 32)}, "calibration="),
        ({"observer": "minmax"}, "observer='minmax'"),
        ({"calibration": torch.randn(2, 3, 32, 32), "observer": "minmax"}, "calibration= and observer='minmax'"),
    ],
)
def test_what_would_range_nothing_is_refused_by_name(given: dict, named: str) -> None:
    with pytest.raises(ValueError, match=f"^{named} would choose no range: .* int8, with ranges for every row"):
        prepare_qat(create("resnet-int8"), **given)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "calibration="),
        ({"calibration": torch.randn(2, 3, 32, 32), "observer": "max"}, "max"),
        ({"calibration": torch.randn(2, 3, 32, 32), "keep_float": ("s9",)}, "s9"),
    ],
)
def test_bad_options_are_one_clear_error(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        prepare_qat(small("mobilenetv2_cifar"), **options)


def test_what_is_in_training_is_not_compressed_otherwise(tmp_path) -> None:
    import zoo

    model = small("mobilenetv2_cifar")
    x = pictures(model)
    qat = prepare_qat(model, x)
    with pytest.raises(ValueError, match="already"):
        prepare_qat(qat, x)
    for passes in ("pruned", "sparse", "sparse-int8"):
        with pytest.raises(ValueError, match="qat already"):
            compress(qat, passes)
    for options in ({"calibration": x}, {"observer": "mse"}, {"keep_float": ("stem",)}, {"correct_bias": True}):
        with pytest.raises(ValueError, match=f"{next(iter(options))}: .*settled"):
            compress(qat, "int8", **options)
    with pytest.raises(ValueError, match=r"stem.*int8"):
        prepare_qat(compress(model, "int8", calibration=x), keep_float=("stem",))
    with pytest.raises(ValueError, match="takes a zoo model"):
        prepare_qat(torch.nn.Linear(2, 2))
    save_file(qat, tmp_path / "qat.safetensors")
    with pytest.raises(ValueError, match="quantization-aware training"):
        zoo.create("mobilenetv2_cifar", weights=tmp_path / "qat.safetensors")


def test_a_bad_edge_is_refused() -> None:
    qat = prepare_qat(small("mobilenetv2_cifar"), torch.randn(4, 3, 32, 32))
    with torch.no_grad():
        qat.get_submodule("s2_2").log_scale[0] = 200.0
    from zoo.model.build import from_state

    with pytest.raises(ValueError, match="s2_2"):
        from_state(qat.spec, qat.state_dict())
