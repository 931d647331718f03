"""int8 ONNX files in integers: what ONNX Runtime itself makes of them, opened without any option of the zoo's."""

from __future__ import annotations

import copy
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

import zoo
from daily import daily
from networks import pictures, small, sums, tiny
from zoo.engine import reference_execution
from zoo.engine.arithmetic import QParams
from zoo.kinds import residual
from zoo.model.build import copy_metadata, from_state
from zoo.passes.compress import compress
from zoo.runtime import cache
from zoo.runtime.backends import onnxruntime
from zoo.runtime.numerics import unrounded
from zoo.runtime.onnx import write_onnx

ort = pytest.importorskip("onnxruntime")
onnx = pytest.importorskip("onnx")

# Those that are measured beside ONNX Runtime's own static quantization.
IN_INTEGERS = daily(
    ["mobilenetv2_100", "resnet18", "tf_efficientnet_lite0", "resnet50", "sums", "resnet20", "mobilenetv2_cifar"],
    ["sums"],  # a block of each kind
)
INTEGERS = {"QLinearConv", "QLinearAdd", "MaxPool", "NhwcMaxPool", "Transpose"}


def optimized(file: Path) -> list[str]:
    """The kind of each node that runs."""
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(file.with_name("optimized.onnx"))
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    ort.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    return [node.op_type for node in onnx.load(options.optimized_model_filepath).graph.node]


@pytest.mark.parametrize("name", IN_INTEGERS)
def test_every_convolution_and_sum_is_in_integers(name: str, tmp_path: Path) -> None:
    """As in ONNX Runtime's own static quantization: codes from the picture to the pool, and none in between floats."""
    dense = sums() if name == "sums" else small(name)
    model = compress(dense, "int8", calibration=pictures(dense), reduce_range=True)
    file = tmp_path / "m.onnx"
    write_onnx(model, file, model.spec.input.size)
    written = Counter(node.op_type for node in onnx.load(file).graph.node)
    found = optimized(file)
    assert found.count("QLinearConv") == written["Conv"] > 0
    assert found.count("QLinearAdd") == written["Add"] > 0
    first, head = found.index("QuantizeLinear"), found.index("DequantizeLinear")
    assert set(found[first + 1 : head]) <= INTEGERS
    assert found[head:] == ["DequantizeLinear", "ReduceMean", "QuantizeLinear", "QGemm"]
    x = pictures(model, 4)
    run = onnxruntime.engine(file, None, 1, exact=True)
    with torch.inference_mode(), reference_execution():
        expected = model(x)
    answer = torch.from_numpy(run(x.numpy())[0])
    assert torch.nn.functional.cosine_similarity(answer, expected).min() > 0.995


@pytest.mark.parametrize(
    "name", ["sums", *(pytest.param(name, marks=pytest.mark.nightly) for name in ("resnet20", "mobilenetv2_cifar"))]
)
def test_a_residual_network_answers_as_in_torch(name: str, tmp_path: Path) -> None:
    """Every sum is the same code, though it is rounded twice; what ties change is a hundredth of a unit.

    Six rows: later rows amplify each tie, until torch's own two executions differ in 2 to 4% of the codes.
    """
    dense = sums() if name == "sums" else small(name)
    x = pictures(dense, 16)
    int8 = compress(dense, "int8", calibration=x, observer="minmax", reduce_range=True)
    trunk = int8.spec.rows[:-2][:6]
    assert sum(residual(row) is not None for row in trunk) >= 2
    rows = (*trunk[:-1], trunk[-1].replace(emits="float32"))
    state = {key: value for key, value in int8.state_dict().items() if key.partition(".")[0] in {r.name for r in rows}}
    maps = copy_metadata(from_state(int8.spec.replace(rows=rows), state), int8)
    write_onnx(maps, tmp_path / "m.onnx", maps.spec.input.size)
    with torch.inference_mode(), reference_execution():
        expected = maps(x)
    found = torch.from_numpy(onnxruntime.engine(tmp_path / "m.onnx", None, 1, exact=True)(x.numpy())[0])
    off = (found - expected) / int8.get_submodule(rows[-1].name).edges[-1, 0]  # type: ignore[operator, union-attr]
    assert (off.abs() > 0.5).float().mean() < 0.01
    assert off.abs().max() < 2.5


def test_ranges_that_calibration_saw_bring_sums_nearer(tmp_path: Path) -> None:
    """An older file says nothing of them: it answers the same in torch, and is exported on the widest range."""
    dense = tiny()
    new = compress(dense, "int8", calibration=pictures(dense, 16), reduce_range=True)
    old = copy.deepcopy(new)
    old.made = {"passes": [{"pass": "int8"}]}
    zoo.save(new, tmp_path / "saved")
    again = zoo.load(tmp_path / "saved")
    assert set(again.made["passes"][-1]["sums"]) == {"a"}
    assert cache.model_key(again) == cache.model_key(new) != cache.model_key(old)
    x = pictures(dense, 16)
    errors = {}
    with torch.inference_mode():
        expected = new(x)
        assert torch.equal(old(x), expected)
        for title, model in (("new", again), ("old", old)):
            write_onnx(model, tmp_path / f"{title}.onnx", model.spec.input.size)
            answer = onnxruntime.engine(tmp_path / f"{title}.onnx", None, 1, exact=True)(x.numpy())[0]
            errors[title] = float((torch.from_numpy(answer) - expected).square().mean())
    assert errors["new"] < errors["old"]


@pytest.mark.parametrize(
    "told",
    [
        [1],
        {"ROW": 3},
        {"ROW": [1.0]},
        {"ROW": [2.0, 1.0]},
        {"ROW": [0, float("nan")]},
        {"ROW": "01"},
        {"ROW": [0, "1"]},
        {"ROW": [0, 10**400]},
        {"ROW": [-float("inf"), 0]},
        {"ROW": None},
    ],
)
def test_a_range_that_is_none_is_refused(told: Any, tmp_path: Path) -> None:
    dense = sums()
    model = compress(dense, "int8", calibration=pictures(dense), reduce_range=True)
    row = next(iter(model.made["passes"][-1]["sums"]))
    model.made = {"passes": [{"pass": "int8", "sums": {row: told["ROW"]} if isinstance(told, dict) else told}]}
    with pytest.raises(ValueError, match=r"sums: .*, which is not a range.*Compress the float network again"):
        write_onnx(model, tmp_path / "m.onnx", model.spec.input.size)


@pytest.mark.parametrize("seen", [(0.0, 0.0), (1e29, 1e29), (-1e29, -1e29), (-1e29, 1e29), (0.3, 0.4)])
@pytest.mark.parametrize("after", ["none", "relu"])
def test_a_range_that_no_sum_has_is_bounded(seen: tuple[float, float], after: str) -> None:
    """Whatever a file says, the codes cover no more than what makes a difference, and 0 is one of them."""
    skip, target = QParams(0.02, 130), QParams(0.03, 0 if after == "relu" else 120)
    qparams, widest = (
        unrounded.summand_qparams(skip, after, target, seen),
        unrounded.summand_qparams(skip, after, target),
    )
    assert 0 < qparams.scale <= widest.scale and 0 <= qparams.zero_point <= 255
