"""`convert` refuses, with one clear error, what holds no weights or would run code."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn as nn
from safetensors.torch import save_file

from checkpoints import SMALL, small, timm, torchvision, written
from zoo.files import FileError
from zoo.naming import UnknownName
from zoo.weights.convert import convert


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
