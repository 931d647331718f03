"""Residual sums inside OpenVINO's convolutions: no floats between layers, and the same answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import networks
from daily import daily
from networks import mixed, pictures, small
from zoo.model.build import Model
from zoo.passes.compress import compress
from zoo.runtime import sums
from zoo.runtime.backends import openvino
from zoo.runtime.onnx import write_onnx
from zoo.spec import Block

pytest.importorskip("openvino")


def compiled(model: Any) -> Any:
    return openvino.core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})


def float_convolutions(network: Any) -> int:
    told = [node.get_rt_info() for node in network.get_runtime_model().get_ordered_ops()]
    kinds = [(one["layerType"].astype(str), one["outputPrecisions"].astype(str)) for one in told]
    return kinds.count(("Convolution", "f32"))


def residual(model: Model) -> list[Block]:
    return [row for row in model.spec if row.kind in ("basic_block", "bottleneck") or row.args.get("skip")]


@pytest.mark.parametrize(
    "name",
    daily(["sums", "mixed", "resnet20", "mobilenetv2_cifar"], ["sums"]),
)
def test_sums_are_inside(name: str, tmp_path: Path) -> None:
    dense = {"mixed": mixed, "sums": networks.sums}.get(name, lambda: small(name))()
    model = compress(dense, "int8", calibration=pictures(dense), reduce_range=True)
    write_onnx(model, tmp_path / "m.onnx", model.spec.input.size)
    core = openvino.core()
    plain, inside = core.read_model(tmp_path / "m.onnx"), core.read_model(tmp_path / "m.onnx")
    x = pictures(model, 4)
    for one in (plain, inside):
        one.reshape(list(x.shape))
        assert sums.round_once(one) >= len(residual(model))
        assert sums.round_once(one) == 0
    found = sums.keep_sums_inside(inside)
    assert found == len(residual(model)) or name == "mixed"  # swish: its sums are not clipped as its answer is
    before, after = compiled(plain), compiled(inside)
    for wide in (1, 30):  # far beyond what was calibrated, sums are clipped
        one, other = (torch.from_numpy(np.array(run([(wide * x).numpy()])[0])) for run in (before, after))
        assert torch.nn.functional.cosine_similarity(one, other).min() > 0.999
    if name != "mixed":
        assert float_convolutions(after) == 0
    if name in ("sums", "resnet20"):
        assert float_convolutions(before) > 0, "OpenVINO does it by itself now: zoo/runtime/sums.py can go"
