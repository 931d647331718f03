"""Detectors in files and runtimes of others: pictures to (B, D, 6), decoding and suppression included."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import zoo
from daily import nightly
from detection.networks import SIZE, detector, pictures
from zoo.cli import app
from zoo.detection.runtime import check_rows, signature
from zoo.detection.selection import as_dicts
from zoo.files import FileError
from zoo.runtime.needs import installed

DETECTIONS = 8


def small(name: str):  # type: ignore[no-untyped-def]
    """Of few detections: an export has the suppression of each behind that of the one before."""
    return zoo.edit(detector(name), "detector", topk_candidates=30, detections_per_img=DETECTIONS)


@pytest.mark.parametrize(("name", "form"), [("ssdlite", "int8"), nightly(("gfl_pan", "dense"))])
def test_an_export_ends_in_a_fixed_number_of_rows(name: str, form: str, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    import onnxruntime

    model = small(name)
    model = model if form == "dense" else zoo.compress(model, "int8", calibration=pictures(8))
    file = zoo.export(model, tmp_path / "m.onnx")
    session = onnxruntime.InferenceSession(str(file))
    for x in (pictures(3), pictures(1, seed=4)):
        (rows,) = session.run(None, {"input": x.numpy()})
        assert rows.shape == (len(x), DETECTIONS, 6)
        with torch.inference_mode():
            found = model(x)
        for one, other in zip(as_dicts(torch.from_numpy(rows)), found, strict=True):
            near = 1e-4 if form == "dense" else 0.1
            assert abs(len(one["scores"]) - len(other["scores"])) <= (0 if form == "dense" else 4)
            torch.testing.assert_close(one["scores"][:5], other["scores"][:5], rtol=0, atol=near)
    if form == "int8" and installed("openvino"):  # of the very same file
        x = pictures(2)
        fast = zoo.to_runtime(model, "openvino", cache_dir=tmp_path)
        with torch.inference_mode():
            for one, other in zip(fast(x), model(x), strict=True):
                torch.testing.assert_close(one["scores"][:5], other["scores"][:5], rtol=0, atol=0.1)


def test_other_answers_are_noticed() -> None:
    model, x = small("gfl_pan"), pictures(2)
    ready = signature(model)
    with torch.inference_mode():
        rows, raw = ready.module(x), model.raw(x)
        check_rows(rows, model, raw, SIZE, "itself")
        for change in (
            rows * torch.tensor([1, 1, 1, 1, 0.5, 1]),
            rows + torch.tensor([9, 9, 9, 9, 0, 0.0]),
            rows[:, : DETECTIONS // 2],
        ):
            with pytest.raises(FileError, match="gives other detections"):
                check_rows(change, model, raw, SIZE, "another")


@pytest.mark.nightly  # int8 above in every run
@pytest.mark.skipif(not installed("openvino"), reason="openvino is not installed")
def test_the_same_call_in_another_runtime(tmp_path: Path) -> None:
    model, x = small("ssdlite"), pictures(2)
    fast = zoo.to_runtime(model, "openvino", cache_dir=tmp_path)
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (128, 192, 3), np.uint8))
    with torch.inference_mode():
        for given in (x, picture):
            for one, other in zip(fast(given), model(given), strict=True):
                assert len(one["boxes"]) == len(other["boxes"])
                torch.testing.assert_close(one["scores"], other["scores"], rtol=0, atol=1e-3)
                torch.testing.assert_close(one["boxes"][:5], other["boxes"][:5], rtol=0, atol=0.1)


def test_a_pipe_is_read_once(tmp_path: Path) -> None:
    """The picture is opened for its pixels, and for its size."""
    made, pipe = np.random.default_rng(1).integers(0, 255, (64, 96, 3), np.uint8), tmp_path / "pipe"
    Image.fromarray(made).save(tmp_path / "p.png")
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, daemon=True, args=((tmp_path / "p.png").read_bytes(),))
    writer.start()
    model = detector("gfl_pan")
    with torch.inference_mode():
        found, same = model(pipe), model(tmp_path / "p.png")
    writer.join()
    torch.testing.assert_close(found[0]["boxes"], same[0]["boxes"])


def test_predict_lists_and_draws(tmp_path: Path) -> None:
    model = detector("gfl_pan")
    model.labels = ("red", "green", "blue")
    zoo.save(model, tmp_path / "m")
    made = np.random.default_rng(1).integers(0, 255, (64, 96, 3), np.uint8)
    Image.fromarray(made).resize((192, 128)).save(tmp_path / "p.png")
    run, name, picture = CliRunner().invoke, str(tmp_path / "m"), str(tmp_path / "p.png")
    told = run(app, ["predict", name, picture, "--json"])
    assert told.exit_code == 0, told.output
    (answer,) = json.loads(told.stdout)["images"]
    with torch.inference_mode():
        (own,) = model(picture)
    assert len(answer["objects"]) == len(own["boxes"]) > 0
    first = answer["objects"][0]
    assert first["label"] == model.labels[int(own["labels"][0])]
    assert first["box"] == pytest.approx(own["boxes"][0].tolist(), abs=0.01)
    assert all(len(str(one["score"])) <= len("0.123456") for one in answer["objects"])
    middle = sorted(one["score"] for one in answer["objects"])[len(answer["objects"]) // 2]
    told = run(app, ["predict", name, picture, "--json", "--threshold", f"{middle:.4f}"])
    above = [one for one in answer["objects"] if one["score"] >= round(middle, 4)]
    assert json.loads(told.stdout)["images"][0]["objects"] == above != answer["objects"]
    listed = run(app, ["predict", name, picture, "--threshold", f"{middle:.4f}"])
    assert len(listed.stdout.strip().splitlines()) == 3 + len(above)
    refused = run(app, ["predict", "resnet20", picture, "--threshold", "0.5"])
    assert refused.exit_code and "--threshold is for detectors, and resnet20" in refused.output
    drawn = tmp_path / "drawn" / "out.png"
    shown = run(app, ["predict", name, picture, "--out", str(drawn)])
    assert shown.exit_code == 0, shown.output
    with Image.open(drawn) as out, Image.open(picture) as before:
        assert out.size == before.size and out.tobytes() != before.tobytes()
    refused = run(app, ["predict", "resnet20", picture, "--out", str(tmp_path / "x.png")])
    assert refused.exit_code != 0 and not (tmp_path / "x.png").exists()
