"""`convert`: checkpoints of other libraries answer as before, and nothing in them runs."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn as nn
from safetensors.torch import save_file
from typer.testing import CliRunner

import zoo
from checkpoints import CLASSES, SMALL, small, timm, torchvision, written
from networks import randomize
from zoo import registry
from zoo.cli import app
from zoo.files import FileError
from zoo.weights.convert import convert


@torch.inference_mode()
def assert_same_logits(theirs: nn.Module, ours: nn.Module, tolerance: float = 1e-5) -> None:
    x = torch.randn(2, 3, 65, 97)
    expected, found = theirs(x), ours(x)
    assert expected.shape == found.shape == (2, CLASSES)
    assert (expected - found).abs().max() <= tolerance * expected.abs().max()


def of_efficientnet_pytorch() -> nn.Module:
    package = pytest.importorskip("efficientnet_pytorch")
    return package.EfficientNet.from_name("efficientnet-b0", num_classes=CLASSES, image_size=None)


@pytest.mark.parametrize(
    ("arch", "make", "library", "interpolation"),
    [
        (SMALL, lambda: timm.create_model(SMALL, num_classes=CLASSES), "timm", "bicubic"),
        ("resnet18", lambda: timm.create_model("resnet18", num_classes=CLASSES), "timm or torchvision", "bicubic"),
        ("resnet18", lambda: torchvision.models.resnet18(num_classes=CLASSES), "timm or torchvision", "bicubic"),
        ("mobilenetv3_small_050", lambda: timm.create_model("mobilenetv3_small_050", num_classes=7), "timm", "bicubic"),
        ("mobilenetv2_100", lambda: torchvision.models.mobilenet_v2(num_classes=CLASSES), "torchvision", "bilinear"),
        ("tf_efficientnet_b0", of_efficientnet_pytorch, "efficientnet_pytorch", "bicubic"),
    ],
)
def test_the_answers_are_those_of_the_original(
    arch: str, make: Callable[[], nn.Module], library: str, interpolation: str, tmp_path: Path
) -> None:
    theirs = randomize(make())
    ours = convert(written(tmp_path, theirs.state_dict()), arch)
    assert_same_logits(theirs, ours)
    made = ours.made["converted"]
    assert (made["from"], made["library"], len(made["sha256"])) == ("theirs.pth", library, 64)
    assert "left_out" not in made and not ours.training
    assert ours.spec == registry.spec(arch, CLASSES).replace(input=ours.spec.input)
    assert ours.spec.input.interpolation == interpolation


def below(prefix: str, state: dict[str, Any]) -> dict[str, Any]:
    return {prefix + key: value for key, value in state.items()}


def noise(state: dict[str, Any]) -> dict[str, Any]:
    return {key: torch.randn_like(value) if value.is_floating_point() else value for key, value in state.items()}


@pytest.mark.parametrize(
    ("wrap", "left_out"),
    [
        (lambda state: {"state_dict": state, "epoch": 3, "optimizer": {"step": [1]}}, ["epoch", "optimizer"]),
        (lambda state: {"model": {"model_state_dict": state}}, None),
        (lambda state: {f"module.{key}": value for key, value in state.items()}, None),
        (lambda state: {"state_dict": {f"model._orig_mod.{key}": value for key, value in state.items()}}, None),
        (lambda state: {f"module._orig_mod.{key}": nn.Parameter(value, False) for key, value in state.items()}, None),
        (lambda state: {key: value for key, value in state.items() if "num_batches" not in key}, None),
        (lambda state: {key: value.double() if "num" not in key else value for key, value in state.items()}, None),
        (lambda state: {"state_dict_ema": state, "state_dict": noise(state)}, ["state_dict"]),
        (lambda state: {"model_ema": {f"module.{key}": value for key, value in state.items()}}, None),
        (lambda state: {"n_averaged": torch.tensor(3), **below("module.", state)}, ["n_averaged"]),
        (lambda state: {"state_dict": {**below("model.", state), "criterion.weight": torch.ones(4)}}, ["criterion"]),
        (lambda state: below("net.backbone.", state), None),
        (lambda state: {"state_dict": state, "args": Namespace(lr=0.1, out=Path("x"))}, ["args"]),
        (lambda state: {"model": state, "best": np.float64(70.1), "all": np.arange(3)}, ["all", "best"]),
    ],
    ids=[
        *("training", "nests", "parallel", "lightning", "parameters", "no counters", "double", "timm's average"),
        *("average alone", "AveragedModel", "weighted loss", "backbone", "arguments", "numpy"),
    ],
)
def test_what_training_scripts_write(wrap: Callable[[Any], Any], left_out: list[str] | None, tmp_path: Path) -> None:
    theirs = small()
    ours = convert(written(tmp_path, wrap(theirs.state_dict())), SMALL)
    assert_same_logits(theirs, ours)
    assert ours.made["converted"].get("left_out") == left_out


def test_the_format_before_zip_archives(tmp_path: Path) -> None:
    theirs = small()
    torch.save(theirs.state_dict(), tmp_path / "old.bin", _use_new_zipfile_serialization=False)
    assert_same_logits(theirs, convert(tmp_path / "old.bin", SMALL))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_becomes_float32(dtype: torch.dtype, tmp_path: Path) -> None:
    theirs = small().to(dtype)
    ours = convert(written(tmp_path, theirs.state_dict()), SMALL)
    assert {value.dtype for value in ours.state_dict().values()} == {torch.float32, torch.int64}
    assert_same_logits(theirs.float(), ours)


def test_safetensors_under_foreign_names(tmp_path: Path) -> None:
    theirs = small().half()
    save_file(theirs.state_dict(), tmp_path / "theirs.safetensors")
    assert_same_logits(theirs.float(), convert(tmp_path / "theirs.safetensors", SMALL))


def test_labels(tmp_path: Path) -> None:
    path = written(tmp_path, small().state_dict())
    assert convert(path, SMALL, labels=iter("abcdefg")).labels == tuple("abcdefg")
    with pytest.raises(FileError, match="3 labels for 7 classes"):
        convert(path, SMALL, labels="abc")


def test_two_networks_in_one_file_are_not_chosen_between(tmp_path: Path) -> None:
    state = small().state_dict()
    with pytest.raises(FileError, match=r"under 'student\.'; 'teacher\.'; save one"):
        convert(written(tmp_path, {**below("student.", state), **below("teacher.", noise(state))}), SMALL)


def test_the_names_of_imagenet(tmp_path: Path) -> None:
    """1000 classes are ImageNet's, and it is said; 7 are nobody's."""
    path = written(tmp_path, timm.create_model(SMALL).state_dict())
    model = convert(path, SMALL)
    assert model.labels[:2] == ("tench", "goldfish") or len(set(model.labels)) > 900
    assert "ImageNet" in model.made["converted"]["labels"]
    assert convert(path, SMALL, labels=()).labels == ()
    assert convert(written(tmp_path, small().state_dict()), SMALL).labels == ()


def test_other_channels(tmp_path: Path) -> None:
    theirs = timm.create_model(SMALL, num_classes=3, in_chans=2).eval()
    ours = convert(written(tmp_path, theirs.state_dict()), SMALL)
    x = torch.randn(2, 2, 64, 64)
    with torch.inference_mode():
        assert torch.allclose(ours(x), theirs(x), atol=1e-5)


@pytest.mark.parametrize("several", [False, True])
def test_a_folder_of_transformers_with_pickles(several: bool, tmp_path: Path) -> None:
    """load refuses it and says what reads it; the answers are those of the folder with safetensors."""
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(vocab_size=50, hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
                                     intermediate_size=64, num_labels=3, id2label={0: "a", 1: "b", 2: "c"})  # fmt: skip
    theirs = transformers.BertForSequenceClassification(config).eval()
    theirs.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    state = list(theirs.state_dict().items())
    parts = [state[:9], state[9:]] if several else [state]
    for number, part in enumerate(parts):
        name = f"pytorch_model-{number + 1:05d}-of-00002.bin" if several else "pytorch_model.bin"
        torch.save(dict(part), tmp_path / name)
    with pytest.raises(FileError, match=r"zoo\.weights\.convert\.convert"):
        zoo.load(tmp_path)
    ours = convert(tmp_path)
    ids = torch.arange(20)[None]
    with torch.inference_mode():
        assert torch.allclose(ours(ids).logits, theirs(ids).logits, atol=1e-5)
    assert ours.labels == ("a", "b", "c") and ours.made["converted"]["library"] == "transformers"
    run(str(tmp_path), "--out", str(tmp_path / "out"), "--labels", "none")
    assert zoo.load(tmp_path / "out").labels == ()


def test_a_folder_without_what_tells_its_network(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"has no pytorch_model\.bin"):
        convert(tmp_path)
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(FileError, match=r"has no config\.json"):
        convert(tmp_path)


def test_names_of_efficientnet_pytorch_mean_its_padding(tmp_path: Path) -> None:
    path = written(tmp_path, of_efficientnet_pytorch().state_dict())
    with pytest.raises(FileError, match="pads as TensorFlow does; its name is tf_efficientnet_b0"):
        convert(path, "efficientnet_b0")


def run(*args: str, status: int = 0) -> tuple[str, str]:
    done = CliRunner().invoke(app, ["convert", *args])
    assert done.exit_code == status, done.output
    assert "Traceback" not in done.output
    return done.stdout, done.stderr


def test_the_command(tmp_path: Path) -> None:
    theirs = small()
    path = written(tmp_path, {"model": theirs.state_dict(), "epoch": 1})
    folder, labels = tmp_path / "new", tmp_path / "labels.txt"
    labels.write_text("\n".join("abcdefg") + "\n")
    shown, remarks = run(str(path), "--arch", SMALL, "--out", str(folder), "--labels", str(labels))
    assert f"{SMALL}, 7 classes, 224x224, from timm" in shown and shown.count("\n") == 2
    assert "because they are not weights: epoch" in remarks and f"zoo eval {folder}" in remarks.replace("\n", "")
    ours = zoo.load(folder)
    assert ours.labels == tuple("abcdefg") and ours.made["converted"]["left_out"] == ["epoch"]
    assert_same_logits(theirs, ours)
    document = json.loads(run(str(path), "--arch", SMALL, "--out", str(folder), "--json")[0])
    assert (document["converted"]["library"], document["network"]["labels"]) == ("timm", [])


def test_what_the_command_cannot_do_is_one_line(tmp_path: Path) -> None:
    path = str(written(tmp_path, {"state_dict": small().state_dict()}))
    out = ("--out", str(tmp_path / "new"))
    for args, words in (
        ((str(tmp_path / "absent"), "--arch", SMALL, *out), "No such file"),
        ((path, "--arch", "resnet81", *out), "Did you mean"),
        ((path, "--arch", SMALL, *out, "--labels", path), "--labels takes a text file"),
        ((path, "--arch", SMALL, "--out", path), "cannot be a folder"),
    ):
        shown, complaint = run(*args, status=2)
        assert shown == "" and words in complaint and complaint.count("\n") == 1
    assert not (tmp_path / "new").exists()
