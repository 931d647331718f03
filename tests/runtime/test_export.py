"""export: files that other systems open, each checked against the network first."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import zoo
from detection.networks import detector
from networks import gated, lively, pictures, tiny
from text_data import trunk
from zoo.files import FileError
from zoo.model.features import Features
from zoo.passes.compress import compress
from zoo.passes.qat import prepare_qat
from zoo.runtime import formats, needs
from zoo.runtime.backends import onnxruntime as onnxruntime_files
from zoo.runtime.backends import openvino
from zoo.runtime.signature import signature

SUFFIXES = {one.name: one.suffix for one in formats().values()}


def answers(file: Path, x: torch.Tensor) -> torch.Tensor:
    """Of the file alone, by the system it is for."""
    match file.suffix:
        case ".onnx":
            import onnxruntime

            return torch.from_numpy(onnxruntime.InferenceSession(file).run(None, {"input": x.numpy()})[0])
        case ".xml":
            # Floats: on x86 without VNNI OpenVINO's products of wide weights saturate.
            compiled = openvino.core().compile_model(file, "CPU", {"LP_TRANSFORMS_MODE": "NO"})
            return torch.from_numpy(np.array(compiled([x.numpy()])[0]))
        case ".pt2":
            return torch.export.load(file).module()(x).detach()
    raise ValueError(file)


@pytest.mark.parametrize("what", ["pictures", "objects", "texts"])
def test_what_is_exported_is_in_eval_mode(what: str) -> None:
    """A wrapper around the network too: torch warns of one that trains."""
    model = {"pictures": tiny, "objects": lambda: detector("gfl_pan"), "texts": trunk}[what]().eval()
    assert not [name for name, part in signature(model).module.named_modules() if part.training]


@pytest.mark.parametrize(("name", "kind"), [("dense", "onnx"), ("int8", "openvino"), ("int8", "pt2")])
def test_a_file_answers_as_the_network(name: str, kind: str, tmp_path) -> None:
    model = tiny()
    if name == "int8":
        model = compress(model, "int8", calibration=pictures(model, 32), reduce_range=True)
    file = zoo.export(model, tmp_path / "new" / f"m{SUFFIXES[kind]}")
    files = {file.name, "m.bin"} if kind == "openvino" else {file.name}
    assert {one.name for one in file.parent.iterdir()} == files
    x = pictures(model, 3)
    with torch.inference_mode():
        expected = model(x)
    assert torch.nn.functional.cosine_similarity(answers(file, x), expected).min() > 0.995


@pytest.mark.multiprocess
def test_executorch(tmp_path) -> None:
    """As far as it is installed."""
    if not needs.installed("executorch"):
        with pytest.raises(needs.MissingPackage, match="pip install executorch"):
            zoo.export(tiny(), tmp_path / "m.pte")
        return
    command = [sys.executable, "-m", "zoo", "export", "resnet-int8", "--out", str(tmp_path / "m.pte")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert "answers as" in done.stdout, done.stderr
    assert (tmp_path / "m.pte").stat().st_size < 0.3 * zoo.info("resnet").bytes
    assert b"dequantize" not in (tmp_path / "m.pte").read_bytes()  # none left for plain operators: all is XNNPACK's
    assert (tmp_path / "m.pte").stat().st_size > 10_000


def said(file: Path) -> dict[str, str]:
    """The facts that a file holds, read by the system it is for."""
    match file.suffix:
        case ".onnx":
            import onnx

            return {one.key: one.value for one in onnx.load(file).metadata_props}
        case ".xml":
            read = openvino.core().read_model(file)
            wanted = ("name", "labels", "mean", "size", "color_order")
            return {key: read.get_rt_info(["zoo", key]).astype(str) for key in wanted}
        case ".pt2":
            extra = {"zoo.json": ""}
            torch.export.load(file, extra_files=extra)
            return json.loads(extra["zoo.json"])
    raise ValueError(file)


@pytest.mark.parametrize(("kind", "opset"), [("onnx", 15), ("openvino", None), ("pt2", None)])
def test_a_backbone_with_the_facts_of_its_network(kind: str, opset: int | None, tmp_path: Path) -> None:
    """In every format, and in another version of ONNX's operators: a file alone says how to prepare its pictures."""
    whole = gated("hard_swish")
    whole.labels = ("one & <two>", *map(str, range(whole.spec.rows[-1].args["num_classes"] - 1)))
    model = Features(whole, (0, 1))
    model.labels = whole.labels
    file = zoo.export(model, tmp_path / f"m{SUFFIXES[kind]}", opset=opset)
    found = said(file)
    assert json.loads(found["labels"]) == list(whole.labels)
    assert json.loads(found["mean"]) == list(whole.spec.input.mean) and found["color_order"] == "RGB"
    assert json.loads(found["size"]) == list(whole.spec.input.size) and found["name"] == model.spec.name
    if kind == "onnx":
        import onnx
        import onnxruntime

        assert [one.version for one in onnx.load(file).opset_import if not one.domain] == [opset]
        session = onnxruntime.InferenceSession(file)
        assert [one.name for one in session.get_outputs()] == model.feature_info.module_name()
        x = pictures(model, 3)
        with torch.inference_mode():
            for one, other in zip(session.run(None, {"input": x.numpy()}), model(x), strict=True):
                np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-3)


def test_a_file_that_answers_otherwise_is_not_kept(tmp_path, monkeypatch) -> None:
    other, write = tiny(), onnxruntime_files.write_onnx
    monkeypatch.setattr(onnxruntime_files, "write_onnx", lambda model, file, size, opset: write(other, file, size))
    (tmp_path / "m.onnx").write_text("an older file")
    with pytest.raises(FileError, match="gives other answers"):
        zoo.export(tiny(), tmp_path / "m.onnx")
    assert [one.name for one in tmp_path.iterdir()] == ["m.onnx"]
    assert (tmp_path / "m.onnx").read_text() == "an older file"


def test_bad_requests_are_one_clear_error(tmp_path) -> None:
    model = tiny()
    for file, kind, message in (
        ("m.tflite", None, r"^No format ends in .tflite; choose .xml, .onnx, .pte, .pt2"),
        ("m", None, "^'m' ends in no format; choose .xml, .onnx, .pte, .pt2"),
        ("m.onnx", "tflite", "choose one of openvino, onnx, executorch, pt2"),
        ("m.onnx", "openvino", r"ends in \.xml"),
    ):
        with pytest.raises(ValueError, match=message):
            zoo.export(model, tmp_path / file, kind)
    for file, opset, message in (("m.onnx", 12, "from 13 to"), ("m.pt2", 17, "opset is for ONNX files")):
        with pytest.raises(ValueError, match=message):
            zoo.export(model, tmp_path / file, opset=opset)
    with pytest.raises(ValueError, match="opset 13 is too old for HardSwish"):
        zoo.export(lively(model.spec.edit("stem", activation="hard_swish")), tmp_path / "m.onnx", opset=13)
    with pytest.raises(FileError, match="give a file to write to"):
        zoo.export(model, "")
    with pytest.raises(ValueError, match="zoo model"):
        zoo.export(torch.nn.Linear(2, 2), tmp_path / "m.onnx")
    with pytest.raises(ValueError, match="quantization-aware"):
        zoo.export(prepare_qat(model, pictures(model)), tmp_path / "m.onnx")
    (tmp_path / "a").write_text("a file")
    with pytest.raises(FileError, match="folder"):
        zoo.export(model, tmp_path / "a" / "m.onnx")
    assert [one.name for one in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("kind", ["onnx", "pt2"])
def test_a_target_that_cannot_be_written(kind: str, tmp_path: Path) -> None:
    model = tiny()
    (tmp_path / f"taken{SUFFIXES[kind]}").mkdir()
    for name in ("taken", "x" * 300):
        with pytest.raises(FileError, match="cannot be written"):
            zoo.export(model, tmp_path / f"{name}{SUFFIXES[kind]}")
    assert [one.name for one in tmp_path.iterdir()] == [f"taken{SUFFIXES[kind]}"]


@pytest.mark.parametrize("taken", ["m.xml", "m.bin"])
def test_half_of_a_pair_takes_no_place(taken: str, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    (tmp_path / taken).mkdir()
    with pytest.raises(FileError, match="cannot be written"):
        zoo.export(tiny(), tmp_path / "m.xml")
    assert [one.name for one in tmp_path.iterdir()] == [taken]
