"""Segmenters, and detectors, in files of others: atrous pyramids, joins and enlargements answer as in torch."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

import zoo
from detection.networks import backbone, detector, pictures
from networks import lively
from zoo import kinds, registry
from zoo.model.build import Model

SIZE = (64, 96)


def deeplab() -> Model:
    narrow = {"num_classes": 5, "backbone": backbone(), "decoder_channels": 16}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return lively(kinds.with_size(registry.spec("deeplabv3plus", **narrow), SIZE))


@pytest.mark.parametrize("form", ["dense", "int8"])
def test_deeplabv3plus_in_onnx_runtime(form: str, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    model, x = deeplab(), pictures(3)
    if form == "int8":
        model = zoo.compress(model, "int8", calibration=pictures(8, seed=2))
        assert all(row.precision == "int8" for row in model.spec)
    file = zoo.export(model, tmp_path / "m.onnx")
    session = onnxruntime.InferenceSession(str(file))
    with torch.inference_mode():
        own: Tensor = model(x)
    found = torch.from_numpy(session.run(None, {"input": x.numpy()})[0])
    assert found.shape == own.shape == (3, 5, *SIZE)
    if form == "dense":
        torch.testing.assert_close(found, own, rtol=0, atol=1e-4 * float(own.abs().max()))
    else:  # sums of codes are rounded at other places
        assert (found - own).abs().mean() < 0.05 * own.std()
        assert (found.argmax(1) == own.argmax(1)).float().mean() > 0.95


@pytest.mark.nightly  # an export takes a minute
@pytest.mark.parametrize("name", ["deeplabv3plus", "ssdlite", "gfl_pan"])
@pytest.mark.parametrize("form", ["dense", "int8"])
def test_graphs_that_join_in_executorch(name: str, form: str, tmp_path: Path) -> None:
    pytest.importorskip("executorch")
    model = deeplab() if name == "deeplabv3plus" else detector(name)
    if name != "deeplabv3plus":
        model = zoo.edit(model, "detector", topk_candidates=60, detections_per_img=20)
    model = zoo.compress(model, "int8", calibration=pictures(8, seed=2)) if form == "int8" else model
    fast, x = zoo.to_runtime(model, "executorch", cache_dir=tmp_path), pictures(2)
    near = 1e-4 if form == "dense" else 0.1
    with torch.inference_mode():
        for found, own in zip(fast(x), model(x), strict=True):
            if name == "deeplabv3plus":
                assert (found - own).abs().mean() < near * own.std()
            else:
                assert abs(len(found["scores"]) - len(own["scores"])) <= (0 if form == "dense" else 4)
                torch.testing.assert_close(found["scores"][:5], own["scores"][:5], rtol=0, atol=near)
