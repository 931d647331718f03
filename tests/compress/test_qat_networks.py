"""Quantization-aware training of whole networks: files, edits, taps, and what is refused."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file as write_tensors

from networks import gated, pictures, small
from qat_networks import OPTIMIZERS, rows_agree, train
from zoo.factory import create
from zoo.model.build import build, from_state, upto
from zoo.model.editing import edit
from zoo.model.features import Features
from zoo.passes.compress import compress
from zoo.passes.qat import prepare_qat
from zoo.weights.file import load, save_file

MIXED = ("stem", "s2_2", "classifier")


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


def test_the_history_tells_one_int8() -> None:
    model = compress(small("mobilenetv2_cifar"), "pruned")
    x = pictures(model, 32)
    qat = prepare_qat(model, x, keep_float=MIXED, observer="minmax")
    told = {"pass": "qat", "observer": "minmax", "examples": 32, "keep_float": list(MIXED)}
    sums = qat.made["passes"][-1]["sums"]
    assert qat.made["passes"][-1] == {**told, "sums": sums}
    assert [row.name for row in qat.spec if row.precision == "float32"] == list(MIXED)
    assert qat.spec["s2_1"].emits == "float32" and qat.spec["s2_3"].emits == "uint8"
    rows_agree(qat, x)
    expected = {"pass": "int8", "trained": "quantization-aware", "keep_float": list(MIXED)}
    int8 = compress(qat, "int8")
    for finished in (int8, compress(prepare_qat(int8), "int8")):
        assert [one["pass"] for one in finished.made["passes"]] == ["pruned", "int8"]
        found = finished.made["passes"][-1]
        assert found == {**expected, "sums": found["sums"]} and finished.spec == int8.spec
        assert found["sums"] == {row: pytest.approx(ends, rel=1e-4) for row, ends in sums.items()}
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
