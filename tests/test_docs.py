"""The examples of docs/ run as they stand, those of libraries that are not installed left out."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest
import torch

import zoo
from zoo.model.features import Features

DOCS = Path(__file__).parents[1] / "docs"
PEERS = ("lightning", "accelerate")
DECODERS = "segmentation_models_pytorch"


def dense_prediction() -> list[str]:
    return re.findall(r"```python\n(.*?)```", (DOCS / "dense-prediction.md").read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.slow
def test_the_examples_of_fine_tuning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    known: dict[str, object] = {}
    ran = 0
    for block in re.findall(r"```python\n(.*?)```", (DOCS / "finetuning.md").read_text(encoding="utf-8"), re.DOTALL):
        wanted = [name for name in PEERS if f"import {name}" in block]
        if all(importlib.util.find_spec(name) for name in wanted):
            exec(block, known)
            ran += 1
    assert ran >= 3
    weights = {key: t for key, t in zoo.load("tuned-int8").state_dict().items() if key.endswith("weight")}
    assert weights and all(t.dtype == torch.int8 for t in weights.values())
    before = zoo.create("mobilenet-sparse").state_dict()
    after = known["model"] if "accelerator" not in known else None
    if after is not None:
        assert all(bool((after.state_dict()[k][t == 0] == 0).all()) for k, t in before.items() if k.endswith("weight"))
    assert sum(row.precision == "float32" for row in known["mixed"].spec) == 2


def test_the_examples_of_recommenders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    known: dict[str, object] = {}
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / "tables.md").read_text(encoding="utf-8"), re.DOTALL)
    for block in blocks:
        exec(block, known)
    assert len(blocks) == 3 and known["x"].shape == (6, 4)  # type: ignore[attr-defined]
    assert [row.precision for row in known["int4"].spec if row.precision.startswith("int4")]  # type: ignore[attr-defined]
    assert zoo.load("runs/big")(known["table"]).shape == (6, 1)


def test_the_examples_of_dense_prediction(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(DOCS.parent)
    known: dict[str, object] = {}
    for block in dense_prediction():
        if DECODERS not in block:
            exec(block, known)
    answers = known["answers"]
    assert len(answers) == 4  # type: ignore[arg-type]
    for answer in answers:  # type: ignore[attr-defined]
        assert sorted(answer) == ["boxes", "labels", "scores"]
        assert (answer["boxes"] >= 0).all() and (answer["boxes"][:, 2::4] <= 160).all()
    whole, int8 = (known["detectors"][place].backbone.body for place in (0, 2))  # type: ignore[index]
    x = torch.randn(1, 3, 128, 160)
    with torch.inference_mode():
        for ours, theirs in zip(int8(x), whole(x), strict=True):
            assert (ours - theirs).std() < 0.5 * theirs.std()
    assert int8.spec["s1_1"].precision == "int8" and whole.spec["s1_1"].precision == "float32"


def test_the_example_of_a_decoder_of_others() -> None:
    pytest.importorskip(DECODERS)
    torch.manual_seed(0)
    whole = zoo.compress(zoo.create("mobilenetv2_035", weights=None), "pruned", macs=0.5)
    int8 = zoo.compress(whole, "int8", calibration=torch.randn(8, 3, 64, 64))
    known: dict[str, object] = {"torch": torch, "nn": torch.nn, "Features": Features, "whole": whole, "int8": int8}
    (block,) = [one for one in dense_prediction() if DECODERS in one]
    exec(block, known)
    segmenters, masks = known["segmenters"], known["masks"]
    assert [one.shape for one in masks] == [(1, 11, 96, 128)] * 2  # type: ignore[attr-defined]
    segmenters[1].load_state_dict(  # type: ignore[index]
        {**segmenters[1].state_dict(), **_beside_the_body(segmenters[0])}  # type: ignore[index]
    )
    x = torch.randn(1, 3, 96, 128)
    with torch.inference_mode():
        ours, theirs = (one(x) for one in segmenters)  # type: ignore[attr-defined]
    assert 0 < (ours - theirs).std() < 0.5 * theirs.std()


def _beside_the_body(segmenter: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {key: value for key, value in segmenter.state_dict().items() if not key.startswith("encoder.")}
