"""Damaged values are found where they enter: at load, at each pass, in the answer."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from safetensors.torch import save_file as write

import zoo
from networks import pictures, small, tiny
from zoo.model.build import Model, from_state
from zoo.model.features import Features
from zoo.model.finite import check_small, first_bad_row
from zoo.passes.compress import compress

NAN, INF = float("nan"), float("inf")
SMALL = [("bn.weight", NAN), ("bn.bias", INF), ("running_mean", NAN), ("running_var", NAN), ("running_var", -1.0)]
SMALL_INT8 = [("scale", NAN), ("scale", INF), ("scale", 0.0), ("scale", -1.0), ("bias", NAN), ("edges", NAN)]
BOTH = [("float", *one) for one in SMALL] + [("int8", *one) for one in SMALL_INT8]
LARGE = [("conv.weight", NAN), ("conv.weight", INF), ("conv.weight", -INF)]


@pytest.fixture(scope="module")
def networks() -> dict[str, Model]:
    model = small("mobilenetv2_cifar")
    return {"float": model, "int8": compress(model, "int8", calibration=pictures(model))}


def damaged(model: Model, leaf: str, value: float) -> tuple[str, dict[str, torch.Tensor]]:
    state = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    key = [key for key in state if key.endswith(leaf)][:3][-1]
    state[key].view(-1)[0] = value
    return key, state


@pytest.mark.parametrize(("kind", "leaf", "value"), BOTH)
def test_small_tensors_are_checked_at_load(
    networks: dict[str, Model], tmp_path: Path, kind: str, leaf: str, value: float
) -> None:
    model = networks[kind]
    key, state = damaged(model, leaf, value)
    with pytest.raises(ValueError, match=f"Row '{key.split('.')[0]}'"):
        from_state(model.spec, state)
    zoo.save(model, tmp_path)
    file = tmp_path / "model.safetensors"
    with safe_open(file, "pt") as opened:
        head = opened.metadata()
    stored = load_file(file)
    stored[key if key in stored else f"{key}.values"].view(-1)[0] = value  # packed where many are zero
    write(stored, file, head)
    with pytest.raises(zoo.FileError, match=f"Row '{key.split('.')[0]}'"):
        zoo.load(tmp_path)


@pytest.mark.parametrize(("leaf", "value"), LARGE)
def test_large_tensors_are_checked_at_the_first_call(
    networks: dict[str, Model], tmp_path: Path, leaf: str, value: float
) -> None:
    model = networks["float"]
    key, state = damaged(model, leaf, value)
    zoo.save(model, tmp_path)
    file = tmp_path / "model.safetensors"
    with safe_open(file, "pt") as opened:
        head = opened.metadata()
    assert zoo.load(tmp_path)(pictures(model)).isfinite().all()
    write({name: state[name].contiguous() for name in load_file(file)}, file, head)
    loaded = zoo.load(tmp_path)
    for _ in range(2):  # a call that is refused does not count as the first one
        with pytest.raises(ValueError, match=f"Row '{key.split('.')[0]}'"):
            loaded(pictures(model))


def test_large_tensors_of_a_language_model_are_checked_at_the_first_call(tmp_path: Path) -> None:
    model = small("bert_base_uncased")
    zoo.save(model, tmp_path)
    file = tmp_path / "model.safetensors"
    with safe_open(file, "pt") as opened:
        head = opened.metadata()
    stored = load_file(file)
    key = next(name for name, tensor in stored.items() if tensor.dim() == 2 and name.startswith("h0"))
    stored[key].view(-1)[0] = NAN
    write(stored, file, head)
    with pytest.raises(ValueError, match=f"Row '{key.split('.')[0]}'"):
        zoo.load(tmp_path)(torch.ones(1, 4, dtype=torch.int64))


PASSES: dict[str, Callable[[Model], Any]] = {
    "fuse": zoo.fuse,
    "int8": lambda m: compress(m, "int8", calibration=pictures(m)),
    "pruned": lambda m: compress(m, "pruned"),
    "sparse": lambda m: compress(m, "sparse"),
    "prepare_qat": lambda m: zoo.prepare_qat(m, pictures(m)),
    "edit": lambda m: zoo.edit(m, "classifier", num_classes=3),
    "to_runtime": lambda m: zoo.to_runtime(m, "torch"),
}


@pytest.mark.parametrize(("leaf", "value"), SMALL + LARGE)
@pytest.mark.parametrize("name", PASSES)
def test_each_pass_checks_all_tensors(networks: dict[str, Model], name: str, leaf: str, value: float) -> None:
    model = from_state(networks["float"].spec, {k: v.clone() for k, v in networks["float"].state_dict().items()})
    key, state = damaged(model, leaf, value)
    model.load_state_dict(state)
    with pytest.raises(ValueError, match=f"Row '{key.split('.')[0]}' of .* is damaged"):
        PASSES[name](model)


@pytest.mark.parametrize(("leaf", "value"), [("conv.weight", NAN), ("fc.weight", INF)])  # ReLU6 makes 6 of infinity
def test_an_answer_that_is_not_finite_names_the_row(networks: dict[str, Model], leaf: str, value: float) -> None:
    key, state = damaged(networks["float"], leaf, value)
    model = from_state(networks["float"].spec, state)
    data = (np.random.default_rng(0).integers(0, 255, (4, 32, 32, 3), np.uint8), np.arange(4))
    with pytest.raises(ValueError, match=rf"not finite; row '{key.split('.')[0]}' is the first"):
        zoo.evaluate(model, data)
    x = pictures(model, 2)
    assert first_bad_row(model, x) == key.split(".")[0] and first_bad_row(model, x * NAN) == "input"
    assert first_bad_row(networks["float"], x) is None


FORMS: dict[str, Callable[[Model], Any]] = {
    "int8": lambda m: compress(m, "int8", calibration=pictures(m)),
    "int8_dynamic": lambda m: compress(small("vit_tiny_patch16_224"), "int8", dynamic=True),
    "fused": zoo.fuse,
    "features": lambda m: Features(compress(m, "int8", calibration=pictures(m))),
    "half float": lambda m: compress(m, "int8", calibration=pictures(m), keep_float=["stem"]),
    "openvino": lambda m: zoo.to_runtime(compress(m, "int8", calibration=pictures(m)), "openvino"),
    "onnxruntime": lambda m: zoo.to_runtime(compress(m, "int8", calibration=pictures(m)), "onnxruntime"),
}


@pytest.mark.filterwarnings("ignore:.*its answers are useless")
@pytest.mark.parametrize("form", FORMS)
def test_an_input_that_is_not_finite_gets_no_ordinary_answer(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if form in ("openvino", "onnxruntime"):
        pytest.importorskip(form)
    monkeypatch.setenv("ZOO_HOME", str(tmp_path))
    float_network = tiny()
    model = FORMS[form](float_network)
    x = pictures(small("vit_tiny_patch16_224") if form == "int8_dynamic" else float_network, 8)
    model(x)
    for value in (NAN, INF, -INF):
        for dtype in (torch.float32, torch.float64):
            bad = x.to(dtype, copy=True)
            bad[[2, 5], 1, 4, 7] = value
            with pytest.raises(ValueError, match="this batch of 8 pictures has nan or infinity at index 2, 5"):
                model(bad)
    with pytest.raises(ValueError, match=r"at index 0, 1, 2, 3, 4, \.\.\.\."):
        model(torch.full_like(x, NAN))
    model(x)


def test_a_sum_that_overflows_is_no_reason_to_refuse() -> None:
    model = zoo.fuse(tiny())
    x = torch.full((2, 3, 32, 32), 3e34)
    assert x.sum().isfinite() and model(x).isfinite().all()
    assert not (x * 1000).sum().isfinite()
    model(x * 1000)
    with pytest.raises(ValueError, match=r"index 0, 1\."):
        model(x.double() * 1e100)  # infinity in float32


@pytest.mark.parametrize("runtime", ["", "openvino", "onnxruntime"])
def test_a_float_network_answers_nan_with_nan(runtime: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if runtime:
        pytest.importorskip(runtime)
    model = small("mobilenetv3_small_100")  # of whose nan OpenVINO makes numbers
    monkeypatch.setenv("ZOO_HOME", str(tmp_path))
    fast = zoo.to_runtime(model, runtime) if runtime else model
    x = pictures(model, 2)
    x[1, 0, 3, 3] = NAN
    with torch.inference_mode():
        assert bool(fast(x)[0].isfinite().all()) and bool(fast(x)[1].isnan().all())


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.parametrize("form", ["int8", "fused"])
def test_a_compiled_network_refuses_the_same_and_an_exported_one_has_no_check(form: str, backend: str) -> None:
    torch._dynamo.reset()
    model = compress(tiny(), "int8", calibration=pictures(tiny())) if form == "int8" else zoo.fuse(tiny())
    x = torch.randn(3, 3, 32, 32)
    compiled, damaged = torch.compile(model, backend=backend, fullgraph=True), x.clone()
    damaged[1, 0, 5, 5] = torch.nan
    with torch.inference_mode():
        torch.testing.assert_close(compiled(x), model(x), rtol=1e-3, atol=0.3 if form == "int8" else 1e-3)
        for network in (model, compiled):
            with pytest.raises(ValueError, match="this batch of 3 pictures has nan or infinity at index 1"):
                network(damaged)
    for strict in (True, False) if backend == "eager" else ():
        graph = torch.export.export(model, (x,), strict=strict).graph
        assert not [node for node in graph.nodes if "check_finite" in str(node.target)]


def test_many_scales_are_looked_at_in_parts() -> None:
    scale = torch.ones(200_000, dtype=torch.float16)
    check_small({"embed.scale": scale}, "many")
    for bad in (float("nan"), 0.0):
        scale[150_000] = bad
        with pytest.raises(ValueError, match=r"Row 'embed' of many is damaged: scale has 1 of 200,000 values"):
            check_small({"embed.scale": scale}, "many")
        scale[150_000] = 1.0
