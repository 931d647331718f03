"""A manifest and files as they ship, but made of fresh weights: the same rules on known, unchanging ground."""

from __future__ import annotations

import hashlib
import importlib
import io
import json
import tempfile
import zipfile
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from zoo import registry
from zoo.catalog import manifest
from zoo.kinds import cost
from zoo.model.build import build
from zoo.passes.compress import compress
from zoo.spec import ModelSpec
from zoo.weights.file import save_file

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
DENSE = "mobilenetv2_cifar.cifar10"
VARIANTS = ("dense", "distilled", "pruned", "sparse", "int8", "pruned-int8")


@cache
def _made() -> tempfile.TemporaryDirectory[str]:
    folder = tempfile.TemporaryDirectory()  # removed with the process, so all test files share one
    make(Path(folder.name))
    return folder


def make(folder: Path) -> None:
    """Into `folder`: shipped/*.safetensors, manifest.toml, and samples/cifar10-{test,train}.zip."""
    (folder / "shipped").mkdir(parents=True)
    (folder / "samples").mkdir()
    dense, tables = build(registry.spec("mobilenetv2_cifar")), []
    calibration = torch.randn(8, 3, 32, 32)
    for variant in VARIANTS:
        if variant == "dense":
            model = dense
        elif variant == "distilled":
            model = build(registry.spec("mobilenetv2_cifar_small"))
        else:
            model = dense
            for each in variant.split("-"):  # channels by their size, which takes no seconds
                model = compress(model, each, calibration=calibration if each == "int8" else None)
        model.labels = CLASSES
        name = DENSE if variant == "dense" else f"{DENSE}-{variant}"
        path = folder / "shipped" / f"{name}.safetensors"
        save_file(model, path)
        tables.append(_table(name, model.spec, path))
    (folder / "manifest.toml").write_text("\n".join(tables))
    for split, number in (("test", 40), ("train", 16)):
        _pictures(folder / "samples" / f"cifar10-{split}.zip", number)


def use(monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let zoo take the toys for what ships, in this process; their folder."""
    folder = Path(_made().name)
    monkeypatch.setattr(manifest, "PATH", folder / "manifest.toml")
    monkeypatch.setattr(manifest, "SHIPPED", folder / "shipped")
    monkeypatch.setattr(importlib.import_module("zoo.data.samples"), "FOLDER", folder / "samples")
    return folder


def _table(name: str, spec: ModelSpec, path: Path) -> str:
    data, costs = path.read_bytes(), cost(spec)
    nonzero = costs.parameters // 4 if "sparse" in name else costs.parameters
    taught = 'teacher = "some.teacher"\nwith_teacher = [10.0, 11.0]\nwithout_teacher = [9.0, 10.0]\n'
    extra = taught if "distilled" in name else ""
    return f"""["{name}"]
spec_name = "{spec.name}"
task = "{spec.task}"
file = "{path.name}"
sha256 = "{hashlib.sha256(data).hexdigest()}"
bytes = {len(data)}
parameters = {costs.parameters}
nonzero = {nonzero}
macs = {costs.macs}
purpose = "CIFAR-10, 10 classes, 32x32"
licence = "Apache-2.0"
source = "made for a test"
recipe = "fresh weights"
["{name}".metric]
name = "top-1 accuracy"
value = 10.25
dense = 10.5
dataset = "CIFAR-10"
split = "test"
examples = 40
encoding = "JPEG"
sha256 = "{"0" * 64}"
{extra}"""


def _pictures(path: Path, number: int) -> None:
    random, labels = np.random.default_rng(0), {}
    with zipfile.ZipFile(path, "w") as archive:
        for i in range(number):
            buffer = io.BytesIO()
            Image.fromarray(random.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(buffer, "JPEG")
            archive.writestr(f"{i:04}.jpg", buffer.getvalue())
            labels[f"{i:04}.jpg"] = i % 10
        archive.writestr("labels.json", json.dumps({"classes": CLASSES, "labels": labels}))
