"""Other runtimes behind the same call: the same answers, exported once, and one clear error for what cannot be."""

from __future__ import annotations

import copy
import hashlib
import json
import pickle
import shutil
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import onnx
import pytest
import torch

import zoo
from daily import daily
from networks import gated, mixed, pictures, small, tiny
from zoo.engine import reference_execution
from zoo.engine.cpu import onednn
from zoo.files import FileError
from zoo.model.build import Model
from zoo.passes.compress import compress
from zoo.passes.qat import prepare_qat
from zoo.runtime import RUNTIMES, alike, cache, choose, needs
from zoo.runtime import onnx as onnx_files
from zoo.runtime.cache import exported_file, model_key
from zoo.runtime.compiled import RuntimeModel

INSTALLED = tuple(one.name for one in RUNTIMES.values() if one.engine and all(map(needs.installed, one.packages)))


def subject(name: str) -> Model:
    """Networks with every kind of row, padding, pool and gate between them, and shipped ones."""
    if not name.startswith("small "):
        return zoo.create(name)
    model = gated("hard_swish", "hard_sigmoid") if "gated" in name else mixed()
    return model if "dense" in name else compress(model, "int8", calibration=pictures(model, 32))


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("exports")


NETWORKS = ("small gated", "small mixed", "small dense mixed", "mobilenet-int8", "resnet-pruned-int8", "mobilenet")


@pytest.mark.slow
@pytest.mark.parametrize("name", daily(NETWORKS, NETWORKS[:3]))
def test_the_answers_are_the_networks(name: str, exports: Path) -> None:
    """Of any batch, in either memory format; to a unit here and there in int8, to 1e-5 in float32."""
    model = subject(name)
    x = pictures(model, 5)
    if "int8" in name and "small" not in name:
        x = zoo.preprocess(model)(zoo.samples("cifar10").images[:5])
    with torch.inference_mode(), reference_execution():
        expected = model(x)
    for runtime in INSTALLED if name == "small mixed" else INSTALLED[:2]:  # ExecuTorch takes half a minute to export
        if name.startswith("small "):
            other = zoo.to_runtime(model, runtime, cache_dir=exports)
        else:
            other = zoo.create(name, runtime=runtime, cache_dir=exports)
        found = torch.cat([other(x[:1]), other(x[1:].contiguous(memory_format=torch.channels_last))])
        assert found.dtype == torch.float32
        if "int8" not in {row.precision for row in model.spec}:
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))
        else:
            assert torch.nn.functional.cosine_similarity(found, expected).min() > 0.995, runtime


@pytest.mark.slow
def test_it_is_standard_onnx_in_integers(exports: Path) -> None:
    """What ships, too, answers as the network does."""
    test_the_answers_are_the_networks("resnet-int8", exports)
    model = zoo.create("resnet-int8")
    key = cache.model_key(model)
    file = cache.exported(model, key, (32, 32), exports, read=lambda path: path, runtime="onnxruntime")
    proto = onnx.load(file)
    onnx.checker.check_model(proto, full_check=True)
    assert {node.domain for node in proto.graph.node} <= {"", "ai.onnx"}
    kinds = Counter(node.op_type for node in proto.graph.node)
    assert set(kinds) <= {"QuantizeLinear", "DequantizeLinear", "Conv", "Relu", "Add", "ReduceMean", "Gemm"}
    weights = [one for one in proto.graph.initializer if len(one.dims) >= 2]
    assert weights and all(one.data_type == onnx.TensorProto.INT8 for one in weights)
    dense = zoo.info("resnet").bytes
    assert dense is not None and file.stat().st_size < 0.4 * dense


@pytest.mark.slow
def test_create_exports_once_and_evaluates(tmp_path, monkeypatch) -> None:
    said: list[str] = []
    monkeypatch.setattr("zoo.factory._report", said.append)
    dense = tiny()
    dense.labels = zoo.samples("cifar10").classes
    zoo.save(compress(dense, "int8", calibration=pictures(dense, 32)), tmp_path / "int8")
    given = {"weights": tmp_path / "int8", "cache_dir": tmp_path}
    here = zoo.load(tmp_path / "int8")
    x = zoo.preprocess(here)(zoo.samples("cifar10").images[:4])
    first = zoo.create(here.spec, runtime="openvino", **given)
    y = first(x)
    assert said == ["exporting tiny at 32x32, once"]
    assert first.labels == dense.labels and first.spec == here.spec
    monkeypatch.setattr(onnx_files, "write_onnx", lambda *args: pytest.fail("exported twice"))
    again = zoo.create(here.spec, runtime="onnxruntime", **given)
    assert torch.nn.functional.cosine_similarity(again(x), y).min() > 0.995
    assert (again.device, again.dtype) == (torch.device("cpu"), torch.float32)
    found = zoo.evaluate(again, zoo.samples("cifar10"))
    assert abs(found.value - zoo.evaluate(here, zoo.samples("cifar10")).value) <= 1.0

    with ThreadPoolExecutor(4) as pool:  # one network, many threads
        assert all(torch.equal(one, y) for one in pool.map(first, [x] * 12))
    for twin in (copy.deepcopy(first), pickle.loads(pickle.dumps(first))):
        assert torch.equal(twin(x), y)
    assert first(x[:0]).shape == (0, 10)
    quiet = zoo.to_runtime(here, "openvino", cache_dir=tmp_path)
    assert torch.equal(pickle.loads(pickle.dumps(quiet))(x), y)


def test_the_key_is_of_spec_and_weights() -> None:
    model, other = small("resnet20"), small("resnet20")
    assert cache.model_key(model) == cache.model_key(copy.deepcopy(model)) != cache.model_key(other)
    other.load_state_dict(model.state_dict())
    assert cache.model_key(model) == cache.model_key(other)
    renamed = zoo.build(model.spec.replace(name="x"))
    renamed.load_state_dict(model.state_dict())
    assert cache.model_key(model) != cache.model_key(renamed)


@pytest.mark.parametrize("runtime", INSTALLED)
def test_a_damaged_export_is_made_again(runtime: str, tmp_path) -> None:
    model = tiny()
    x = pictures(model, 2)
    with torch.inference_mode():  # in which tensors of the export would be others
        y = zoo.to_runtime(model, runtime, cache_dir=tmp_path)(x)
    (file,) = (tmp_path / "zoo" / "runtime").glob("tiny-*32.*[ex]")
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    assert torch.equal(zoo.to_runtime(model, runtime, cache_dir=tmp_path)(x), y)


def test_an_export_that_fails_leaves_nothing(tmp_path, monkeypatch) -> None:
    def cut_off(model: Model, file: Path, size: tuple[int, int]) -> None:
        file.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(onnx_files, "write_onnx", cut_off)
    with pytest.raises(FileError, match="No space left"):
        zoo.to_runtime(tiny(), "openvino", cache_dir=tmp_path)(torch.randn(1, 3, 32, 32))
    assert not list(tmp_path.rglob("*.onnx"))


def test_a_cache_that_cannot_be_written(tmp_path) -> None:
    (tmp_path / "zoo").write_text("a file")
    with pytest.raises(FileError, match="cache_dir"):
        zoo.to_runtime(tiny(), "openvino", cache_dir=tmp_path)(torch.randn(1, 3, 32, 32))


@pytest.mark.parametrize("runtime", INSTALLED)
def test_other_answers_are_not_given(runtime: str, tmp_path, monkeypatch) -> None:
    model = tiny()
    known = RUNTIMES[runtime]
    for name, function in (
        (known.engine, lambda *args, **how: lambda x: torch.randn(len(x), 10).numpy()),
        (known.write, lambda model, file, size: file.write_bytes(b"")),
    ):
        monkeypatch.setattr(name.replace(":", "."), function)
    with pytest.raises(FileError, match="gives other answers"):
        zoo.to_runtime(model, runtime, cache_dir=tmp_path)(pictures(model, 2))


def test_wide_weights_run_exactly_where_products_saturate(monkeypatch) -> None:
    model = tiny()
    wide, narrow = (compress(model, "int8", calibration=pictures(model), reduce_range=on) for on in (False, True))
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    for widest, expected in ((127, (False, False)), (63, (True, False)), (0, (True, True))):
        monkeypatch.setattr(onednn, "widest_weight", lambda depthwise=False, widest=widest: widest)
        assert (alike.saturates(wide), alike.saturates(narrow)) == expected
    monkeypatch.setattr("platform.machine", lambda: "arm64")
    assert not alike.saturates(wide)
    assert not alike.saturates(model)


def test_the_fastest_is_measured_once_and_remembered(tmp_path, monkeypatch) -> None:
    model, measured = tiny(), []

    def times(models, inputs, seconds):
        measured.append([getattr(one, "runtime", "torch") for one in models])
        return [3.0, 1.0, 2.0, 4.0], 9

    monkeypatch.setattr(choose, "median_times", times)
    for _ in range(2):
        assert zoo.to_runtime(model, "auto", cache_dir=tmp_path).runtime == "openvino"
    assert measured == [["torch", *INSTALLED]]
    (file,) = tmp_path.rglob("fastest.json")
    assert list(json.loads(file.read_text()).values()) == ["openvino"]
    file.write_text("{ damaged")
    assert zoo.to_runtime(model, cache_dir=tmp_path).runtime == "openvino"
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    try:
        zoo.to_runtime(model, cache_dir=tmp_path)
    finally:
        torch.set_num_threads(threads)
    assert len(measured) == 3
    monkeypatch.setattr(choose, "installed", lambda package: package == "torch")
    alone = zoo.to_runtime(model, cache_dir=tmp_path)
    assert type(alone) is Model and alone.spec.rows[0].precision == "fused" and len(measured) == 3


def test_bad_requests_are_one_clear_error(monkeypatch) -> None:
    model = small("mobilenetv2_cifar")
    with pytest.raises(ValueError, match=r"torch, openvino, onnxruntime, executorch, auto"):
        zoo.create("mobilenet", runtime="tensorrt")
    with pytest.raises(ValueError, match="features"):
        zoo.create("mobilenet", runtime="openvino", features_only=True)
    with pytest.raises(ValueError, match="CPU"):
        zoo.create("mobilenet", runtime="openvino", device="meta")
    with pytest.raises(ValueError, match="zoo model"):
        zoo.to_runtime(torch.nn.Linear(2, 2), "openvino")
    with pytest.raises(ValueError, match="quantization-aware"):
        zoo.to_runtime(prepare_qat(model, pictures(model)), "openvino")
    with pytest.raises(ValueError, match="one length"):
        zoo.to_runtime(small("gpt2"), "executorch")
    other = RuntimeModel(model, "openvino")
    with pytest.raises(ValueError, match="taps"):
        other(pictures(model), taps=("stem",))
    with pytest.raises(ValueError, match="normalised floats"):
        other(torch.zeros(1, 4, 32, 32))
    monkeypatch.setattr(needs, "installed", lambda package: False)
    with pytest.raises(needs.MissingPackage, match=r"pip install openvino, or zoo-efficient\[openvino\]"):
        zoo.create("mobilenet", runtime="openvino")


ENDED_THEN_CTRL_C = """
import gc, os, signal, sys
import torch, zoo
model = zoo.to_runtime(zoo.load(sys.argv[1]), "openvino", cache_dir=sys.argv[1])
model(torch.zeros(1, 3, 32, 32))
del model
gc.collect()
signal.signal(signal.SIGINT, lambda number, frame: print("heard"))
os.kill(os.getpid(), signal.SIGINT)
"""


@pytest.mark.multiprocess
def test_a_signal_after_openvino_is_heard(tmp_path) -> None:
    zoo.save(tiny(), tmp_path)
    zoo.to_runtime(zoo.load(tmp_path), "openvino", cache_dir=tmp_path)(torch.zeros(1, 3, 32, 32))  # exported here
    done = subprocess.run([sys.executable, "-c", ENDED_THEN_CTRL_C, str(tmp_path)], capture_output=True, text=True)
    assert done.stdout.strip() == "heard" and done.returncode == 0, done.stderr


def test_the_first_answer_is_compared_with_the_networks_own(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    model = tiny()
    x = pictures(model, 2)
    with torch.inference_mode():
        expected = model(x)
    for first in ("autocast", "double", "nan"):
        fast = zoo.to_runtime(model, "onnxruntime", cache_dir=tmp_path)
        if first == "nan":
            fast(torch.full_like(x, torch.nan))
        with torch.autocast("cpu", torch.bfloat16, enabled=first == "autocast"):
            found = fast(x.double() if first == "double" else x)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("poisoned", [8, pytest.param(16, marks=pytest.mark.nightly)])
def test_an_export_that_answers_otherwise_is_made_anew(tmp_path: Path, poisoned: int) -> None:
    """Whichever size comes first: an entry of another network, with a seal of its own."""
    pytest.importorskip("onnxruntime")
    model, other = tiny(), zoo.build(tiny().spec)
    sizes = (8, 16)
    for one in (model, other):
        for size in sizes:
            zoo.to_runtime(one, "onnxruntime", cache_dir=tmp_path)(torch.randn(2, 3, size, size))
    theirs, ours = (exported_file(one, model_key(one), (poisoned,) * 2, tmp_path, runtime="onnxruntime")
                    for one in (other, model))  # fmt: skip
    shutil.copy(theirs, ours)
    sealed = hashlib.sha256(f"{ours.name} {hashlib.sha256(ours.read_bytes()).hexdigest()}".encode()).hexdigest()
    ours.with_name(ours.name + ".sha256").write_text(sealed)
    for _ in range(2):
        fast = zoo.to_runtime(model, "onnxruntime", cache_dir=tmp_path)
        for size in sizes:
            x = torch.randn(2, 3, size, size)
            with torch.inference_mode():
                torch.testing.assert_close(fast(x), model(x), rtol=1e-4, atol=1e-4)
    assert ours.read_bytes() != theirs.read_bytes()
