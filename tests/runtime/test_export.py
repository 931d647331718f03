"""export: files that other systems open, each checked against the network first."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import zoo
from networks import pictures, small
from zoo.compress import compress
from zoo.compress.qat import prepare_qat
from zoo.runtime import engines, export, needs
from zoo.runtime.export import SUFFIXES
from zoo.weights.header import FileError


def answers(file: Path, x: torch.Tensor) -> torch.Tensor:
    """Of the file alone, by the system it is for."""
    match file.suffix:
        case ".onnx":
            import onnxruntime

            return torch.from_numpy(onnxruntime.InferenceSession(file).run(None, {"input": x.numpy()})[0])
        case ".xml":
            # Floats: on x86 without VNNI OpenVINO's products of wide weights saturate.
            compiled = engines.core().compile_model(file, "CPU", {"LP_TRANSFORMS_MODE": "NO"})
            return torch.from_numpy(np.array(compiled([x.numpy()])[0]))
        case ".pt2":
            return torch.export.load(file).module()(x).detach()
    raise ValueError(file)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "kind"), [("dense", "onnx"), ("int8", "openvino"), ("int8", "pt2")])
def test_a_file_answers_as_the_network(name: str, kind: str, tmp_path) -> None:
    model = small("mobilenetv2_cifar")
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
            zoo.export(small("resnet20"), tmp_path / "m.pte")
        return
    command = [sys.executable, "-m", "zoo", "export", "resnet-int8", "--out", str(tmp_path / "m.pte")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert "answers as" in done.stdout, done.stderr
    assert (tmp_path / "m.pte").stat().st_size < 0.3 * zoo.info("resnet").bytes
    assert b"dequantize" not in (tmp_path / "m.pte").read_bytes()  # none left for plain operators: all is XNNPACK's
    assert (tmp_path / "m.pte").stat().st_size > 10_000


def test_a_file_that_answers_otherwise_is_not_kept(tmp_path, monkeypatch) -> None:
    other, write = small("resnet20"), export.write_onnx
    monkeypatch.setattr(export, "write_onnx", lambda model, file, size: write(other, file, size))
    (tmp_path / "m.onnx").write_text("an older file")
    with pytest.raises(FileError, match="answers otherwise"):
        zoo.export(small("resnet20"), tmp_path / "m.onnx")
    assert [one.name for one in tmp_path.iterdir()] == ["m.onnx"]
    assert (tmp_path / "m.onnx").read_text() == "an older file"


def test_bad_requests_are_one_clear_error(tmp_path) -> None:
    model = small("resnet20")
    for file, kind, message in (
        ("m.tflite", None, "choose one of onnx"),
        ("m.onnx", "tflite", "choose one of onnx"),
        ("m.onnx", "openvino", r"ends in \.xml"),
    ):
        with pytest.raises(ValueError, match=message):
            zoo.export(model, tmp_path / file, kind)
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
    model = small("resnet20")
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
        zoo.export(small("resnet20"), tmp_path / "m.xml")
    assert [one.name for one in tmp_path.iterdir()] == [taken]
