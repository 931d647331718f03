"""The examples of docs/ run as they stand, those of libraries that are not installed left out."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest
import torch

import zoo

DOCS = Path(__file__).parents[1] / "docs"
PEERS = ("lightning", "accelerate")


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
    assert len(blocks) == 2 and known["x"].shape == (6, 4)  # type: ignore[attr-defined]
    assert zoo.load("runs/big")(known["table"]).shape == (6, 1)


def test_the_examples_of_dense_prediction(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(DOCS.parent)
    known: dict[str, object] = {}
    page = (DOCS / "dense-prediction.md").read_text(encoding="utf-8")
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
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
