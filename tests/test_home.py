"""`~` is the home folder in every path that is given, in Python and in the shell."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

import zoo
from picture_data import network, png, tree
from zoo.cli import app
from zoo.weights.convert import convert
from zoo.weights.file import save_file
from zoo.weights.trial import try_save

ARCH = "mobilenetv3_small_050"
PYTHON: dict[str, tuple[Callable[[], Any], str]] = {
    "save": (lambda: zoo.save(network("a", "b"), "~/new"), "new/model.safetensors"),
    "save of shards": (lambda: zoo.save(network("a", "b"), "~/new", max_shard_size=10), "new/config.json"),
    "save_file": (lambda: save_file(network("a", "b"), "~/new.safetensors"), "new.safetensors"),
    "export": (lambda: zoo.export(network("a", "b"), "~/new.pt2"), "new.pt2"),
    "try_save": (lambda: try_save(network("a", "b"), "~/model"), "model/model.safetensors"),
    "load": (lambda: zoo.load("~/model"), ""),
    "info": (lambda: zoo.info("~/model"), ""),
    "info of a file": (lambda: zoo.info("~/model/model.safetensors"), ""),
    "convert": (lambda: convert("~/checkpoint.pth", ARCH), ""),
    "evaluate": (lambda: zoo.evaluate(network("a", "b"), "~/data"), ""),
    "preprocess": (lambda: zoo.preprocess(network("a", "b"))("~/data/a/0.png"), ""),
    "weights": (lambda: zoo.create(ARCH, weights="~/theirs", num_classes=2), ""),
}
SHELL: dict[str, tuple[list[str], str]] = {
    "info": (["info", "~/model"], ""),
    "predict": (["predict", "~/model", "~/data/a/0.png"], ""),
    "predict of a folder": (["predict", "~/model", "~/data"], ""),
    "eval": (["eval", "~/model", "--data", "~/data"], ""),
    "bench": (["bench", "~/model", "--runtime", "eager", "--batch", "1", "--seconds", "0", "--no-memory"], ""),
    "compare": (["compare", "~/model", "--data", "~/data"], ""),
    "compress": (["compress", "~/model", "int8", "--out", "~/new", "--calibration", "~/data"], "new/config.json"),
    "convert": (
        ["convert", "~/checkpoint.pth", "--arch", ARCH, "--out", "~/new", "--labels", "~/labels.txt"],
        "new/config.json",
    ),
    "export": (["export", "~/model", "--out", "~/new.pt2"], "new.pt2"),
}


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of a network that timm has, and its weights as timm's users keep them."""
    folder = tmp_path_factory.mktemp("checkpoints")
    zoo.save(zoo.create(ARCH, weights=None, num_classes=2), folder / "theirs")
    torch.save(load_file(folder / "theirs" / "model.safetensors"), folder / "checkpoint.pth")
    return folder


@pytest.fixture
def home(checkpoints: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder with a network, data and a checkpoint; the working folder is another, empty one."""
    home, here = tmp_path / "home", tmp_path / "here"
    here.mkdir()
    tree(home / "data", "a/0.png", "b/1.png", content=png(7))
    zoo.save(network("a", "b"), home / "model")
    for one in checkpoints.iterdir():
        (home / one.name).symlink_to(one)
    (home / "labels.txt").write_text("one\ntwo\n")
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(home))
    monkeypatch.chdir(here)
    return home


@pytest.mark.parametrize("call", PYTHON)
def test_in_python(call: str, home: Path) -> None:
    run, made = PYTHON[call]
    run()
    assert (home / made).exists() and not list(Path.cwd().iterdir()), "nothing is written where one stands"


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("command", SHELL)
def test_in_the_shell(command: str, home: Path) -> None:
    words, made = SHELL[command]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert (home / made).exists() and not list(Path.cwd().iterdir())
