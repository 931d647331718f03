"""`convert`: checkpoints of other libraries answer as before, and nothing in them runs."""

from __future__ import annotations

import json
import os
import pickle
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
from networks import randomize
from zoo import registry
from zoo.cli import app
from zoo.files import FileError
from zoo.naming import UnknownName
from zoo.weights.convert import convert

timm = pytest.importorskip("timm")
torchvision = pytest.importorskip("torchvision")

SMALL = "mobilenetv2_035"
CLASSES = 7


def small() -> nn.Module:
    return randomize(timm.create_model(SMALL, num_classes=CLASSES))


def written(folder: Path, content: Any) -> Path:
    torch.save(content, folder / "theirs.pth")
    return folder / "theirs.pth"


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


class Trap:
    def __reduce__(self) -> Any:
        return os.system, ("touch ran",)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_with_code_is_refused_and_does_not_run(
    zipped: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": {}, "epoch": Trap()}, "m.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(FileError, match=r"m.pth: holds more than tensors \(posix.system\), .* refused: ask its author"):
        convert("m.pth", SMALL)
    assert not Path("ran").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (nn.Linear(2, 2), r"more than tensors \(torch\.nn.*Linear\).*state dict"),
        ({"epoch": 3}, r"holds no tensors by name, but \['epoch'\]"),
        ([torch.ones(2)], "holds no tensors by name, but list"),
        ({"state_dict": {}}, r"holds no tensors by name, but \['state_dict'\]|but \[\]"),
        ({"epoch": 3, "conv.weight": torch.ones(2)}, "'epoch' among its weights is no plain tensor"),
        ({"conv.weight": torch.ones(2, 2).to_sparse()}, "'conv.weight' among its weights is no plain tensor"),
    ],
)
def test_what_holds_no_state_dict(content: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises(FileError, match=f"theirs.pth: .*{words}"):
        convert(written(tmp_path, content), SMALL)


def test_a_pickle_that_holds_itself(tmp_path: Path) -> None:
    content: dict[str, Any] = {}
    content["model"] = content
    with pytest.raises(FileError, match="holds no tensors by name"):
        convert(written(tmp_path, content), SMALL)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("share", [0.001, 0.5, 0.999])
def test_a_truncated_file(zipped: bool, share: float, tmp_path: Path) -> None:
    path = tmp_path / "m.pth"
    torch.save(small().state_dict(), path, _use_new_zipfile_serialization=zipped)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(FileError, match=r"m.pth: is truncated, damaged or not .*; get it again\.$"):
        convert(path, SMALL)


def test_a_truncated_safetensors_file(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    save_file({"a": torch.ones(100)}, path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(FileError, match="is truncated, damaged"):
        convert(path, SMALL)


@pytest.mark.parametrize(
    "content", [b"", b"<!DOCTYPE html>", b"version https://git-lfs.github.com", b"PK\x05\x06" + b"\0" * 18]
)
def test_other_files(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "m.pth").write_bytes(content)
    with pytest.raises(FileError, match=r"m.pth: is no checkpoint, neither torch.save's nor safetensors"):
        convert(tmp_path / "m.pth", SMALL)


def test_a_pickle_that_torch_did_not_write(tmp_path: Path) -> None:
    (tmp_path / "m.pkl").write_bytes(pickle.dumps({"weight": 1}))
    with pytest.raises(FileError, match=r"not written by torch\.save"):
        convert(tmp_path / "m.pkl", SMALL)


def test_paths_without_a_file(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"absent.pth: cannot be read: No such file or directory; give"):
        convert(tmp_path / "absent.pth", SMALL)
    with pytest.raises(FileError, match="cannot be read: Is a directory"):
        convert(tmp_path, SMALL)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_torchscript_archive(tmp_path: Path) -> None:
    torch.jit.trace(nn.Linear(2, 2), torch.ones(1, 2)).save(tmp_path / "m.pt")
    with pytest.raises(FileError, match=r"is a TorchScript archive.*save the `state_dict\(\)`"):
        convert(tmp_path / "m.pt", SMALL)


def test_weights_of_another_network(tmp_path: Path) -> None:
    path = written(tmp_path, small().state_dict())
    with pytest.raises(UnknownName, match="Did you mean 'mobilenetv2_035'"):
        convert(path, "mobilenetv2_35")
    with pytest.raises(
        FileError, match=r"not those of mobilenetv2_050 in any of timm, .* timm's come nearest, .*and \d+ more"
    ):
        convert(path, "mobilenetv2_050")
    with pytest.raises(FileError, match="not those of resnet18"):
        convert(path, "resnet18")
    with pytest.raises(FileError, match="No key map from timm for 'resnet20'"):
        convert(path, "resnet20")
    path = written(tmp_path, {**torchvision.models.mobilenet_v2().state_dict(), "extra": torch.ones(1)})
    with pytest.raises(FileError, match=r"torchvision's come nearest, but 'extra' is not expected\. Give the name"):
        convert(path, "mobilenetv2_100")
    path = written(tmp_path, timm.create_model(SMALL, num_classes=0).state_dict())
    with pytest.raises(FileError, match=r"timm's come nearest, but classifier\.weight is missing; .*bias is missing"):
        convert(path, SMALL)


def test_names_of_efficientnet_pytorch_mean_its_padding(tmp_path: Path) -> None:
    path = written(tmp_path, of_efficientnet_pytorch().state_dict())
    with pytest.raises(FileError, match="pads as TensorFlow does; its name is tf_efficientnet_b0"):
        convert(path, "efficientnet_b0")


def test_a_tensor_that_repeats_one_value_for_ever_takes_no_memory(tmp_path: Path) -> None:
    state = {**small().state_dict(), "classifier.weight": torch.ones(1).half().expand(2**40, 1280)}
    with pytest.raises(FileError, match=r"timm's come nearest, but classifier.weight is .*\(1099511627776, 1280\)"):
        convert(written(tmp_path, state), SMALL)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda w: w * float("nan"), "not finite"),
        (lambda w: w.double() * 1e300, "too large for float32"),
        (lambda w: w.half() * float("inf"), "not finite"),
    ],
)
def test_values_that_are_not_finite_in_float32(damage: Callable[[Any], Any], words: str, tmp_path: Path) -> None:
    state = small().state_dict()
    path = written(tmp_path, {**state, "conv_stem.weight": damage(state["conv_stem.weight"])})
    with pytest.raises(FileError, match=rf"theirs\.pth: conv_stem\.weight has values that are {words}"):
        convert(path, SMALL)


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
