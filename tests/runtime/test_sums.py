"""Residual sums inside OpenVINO's convolutions: no floats between layers, and the same answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from networks import mixed, pictures, small
from zoo.compress import compress
from zoo.runtime import engines, sums
from zoo.runtime.onnx import write_onnx

pytest.importorskip("openvino")


def compiled(model: Any) -> Any:
    return engines.core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})


def float_convolutions(network: Any) -> int:
    told = [node.get_rt_info() for node in network.get_runtime_model().get_ordered_ops()]
    kinds = [(one["layerType"].astype(str), one["outputPrecisions"].astype(str)) for one in told]
    return kinds.count(("Convolution", "f32"))


@pytest.mark.parametrize("name", ["resnet20", "mobilenetv2_cifar", "mixed"])
def test_sums_are_inside(name: str, tmp_path: Path) -> None:
    dense = mixed() if name == "mixed" else small(name)
    model = compress(dense, "int8", calibration=pictures(dense), reduce_range=True)
    write_onnx(model, tmp_path / "m.onnx", model.spec.input.size)
    core = engines.core()
    plain, inside = core.read_model(tmp_path / "m.onnx"), core.read_model(tmp_path / "m.onnx")
    x = pictures(model, 4)
    for one in (plain, inside):
        one.reshape(list(x.shape))
    residual = [row for row in model.spec if row.kind in ("basic_block", "bottleneck") or row.args.get("skip")]
    found = sums.keep_sums_inside(inside)
    assert found == len(residual) or name == "mixed"  # which has swish, no sum of which is clipped as its answer is
    before, after = compiled(plain), compiled(inside)
    for wide in (1, 30):  # far beyond what was calibrated, sums are clipped
        one, other = (torch.from_numpy(np.array(run([(wide * x).numpy()])[0])) for run in (before, after))
        assert torch.nn.functional.cosine_similarity(one, other).min() > 0.999
    if name != "mixed":
        assert float_convolutions(after) == 0
    if name == "resnet20":
        assert float_convolutions(before) > 0, "OpenVINO does it by itself now: zoo/runtime/sums.py can go"
