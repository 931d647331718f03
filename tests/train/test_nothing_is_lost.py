"""What cannot be saved is refused before training starts, and the file says what the network started from."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
import torch

import zoo
from picture_data import network, png, tree
from zoo.cli.training import main
from zoo.files import FileError
from zoo.model.build import Model
from zoo.train.finetune import finetune
from zoo.train.images import ImageSet
from zoo.train.recipe import Recipe
from zoo.weights.trial import try_save

QUICK = Recipe(epochs=1, batch_size=8, shift=0, bfloat16=False)


def some(*classes: str) -> ImageSet:
    return ImageSet(torch.zeros(16, 8, 8, 3, dtype=torch.uint8), torch.arange(16) % 2, "mine", "0", classes)


def train(model: Model, out: Path, data: ImageSet) -> Model:
    return finetune(model, data, QUICK, out, quiet=True)


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("file", "out"),
        ("folder", "model.safetensors is a folder"),
        ("label", "cannot be printed"),
        ("source", "."),
    ],
)
def test_it_is_refused_before_the_first_step(
    tmp_path: Path, place: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zoo.train.finetune.fit", lambda *_, **__: pytest.fail("it was trained"))
    model, out, data = network(classes=2), tmp_path / "out", some("cat", "dog")
    if place == "file":
        out.write_text("mine")
    elif place == "folder":
        (out / "model.safetensors").mkdir(parents=True)
    elif place == "label":
        data = some("cat", "bell\x07")
    else:
        model.made = {"figure": float("inf")}
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(FileError, match=message):
        train(model, out, data)
    assert sorted(tmp_path.rglob("*")) == before, "nothing is left behind"


def test_a_training_that_makes_no_step_leaves_no_folder(tmp_path: Path) -> None:
    many = Recipe(epochs=1, batch_size=64, shift=0, bfloat16=False)
    with pytest.raises(ValueError, match="16 examples make no step of 64; choose a smaller batch_size"):
        finetune(network(classes=2), some("cat", "dog"), many, tmp_path / "out", quiet=True)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("there", [False, True])
def test_data_that_the_first_epoch_refuses_leaves_no_folder(
    there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise ValueError("damaged")

    monkeypatch.setattr(ImageSet, "stream", refused)
    out = tmp_path / "runs" / "out"
    if there:
        out.mkdir(parents=True)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ValueError, match="damaged"):
        train(network(classes=2), out, some("cat", "dog"))
    assert sorted(tmp_path.rglob("*")) == before


def test_a_full_disk_is_met_before_the_first_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(FileError, match="No space left"):
        try_save(network(classes=2), tmp_path / "out")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", [one.name for one in fields(Recipe) if isinstance(one.default, float)])
@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_settings_are_finite(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name}= is a finite number"):
        Recipe(**{name: value})  # type: ignore[arg-type]


def test_a_network_says_what_it_started_from(tmp_path: Path) -> None:
    """By its file, its card and `zoo info`, through every later step."""
    model = zoo.edit(zoo.create("resnet"), "classifier", num_classes=2)
    tuned = train(model, tmp_path / "a", some("cat", "dog"))
    zoo.save(zoo.compress(tuned, "sparse", sparsity=0.5), tmp_path / "b")
    again = train(zoo.load(tmp_path / "b"), tmp_path / "c", some("cat", "dog"))
    for folder in "abc":
        made, known = zoo.load(tmp_path / folder).made, zoo.info(tmp_path / folder)
        assert made["source"]["name"] == known.source == "resnet20.cifar10"
        assert made["source"]["licence"] == known.licence != ""
        assert made["edited"] == [{"classifier": {"num_classes": 2}}]
        assert "resnet20.cifar10" in (tmp_path / folder / "README.md").read_text()
    assert [one["on"] for one in (*again.made["trained_before"], again.made["trained"])][-2:] == ["mine", "mine"]
    assert json.dumps(again.made["passes"]).count("sparse") == 1


# The commands


@pytest.mark.parametrize("name", ["finetune", "distill", "prune", "quantize"])
def test_without_the_extra_it_says_what_to_install(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda module: None)
    with pytest.raises(SystemExit, match="2"):
        main(name, [])
    assert "pip install 'zoo-efficient[train]'" in capsys.readouterr().err.replace("\n", "")


def test_a_command_trains(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = [f"{split}/{name}/{i}.png" for split in ("train", "val") for name in ("cat", "dog") for i in range(8)]
    data = tree(tmp_path / "data", *names, content=png(size=(32, 32)))
    zoo.save(network(classes=2), tmp_path / "start")
    given = [str(tmp_path / "start"), "--data", str(data), "--out", str(tmp_path / "out"), "--epochs", "1"]
    main("finetune", [*given, "--batch-size", "8", "--shift", "0"])
    assert zoo.load(tmp_path / "out").labels == ("cat", "dog")
    assert "validation top-1 %" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("command", "given", "message"),
    [
        ("quantize", ["--epochs", "7"], "--epochs needs --qat"),
        (
            "quantize",
            ["--learning-rate", "0.5", "--save-seconds", "9"],
            "--save-seconds, --learning-rate need --qat",
        ),
        ("prune", ["--importance", "l1", "--pictures", "7"], "--pictures is for --importance taylor"),
    ],
)
def test_an_option_that_nothing_reads_is_refused(
    command: str, given: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(command, ["mobilenet", "--data", str(tmp_path), "--out", str(tmp_path / "out"), *given])
    assert message in capsys.readouterr().err


@pytest.mark.multiprocess
def test_the_package_has_the_commands() -> None:
    done = subprocess.run([sys.executable, "-m", "zoo", "quantize", "--help"], capture_output=True, text=True)
    assert done.returncode == 0 and "Usage: zoo quantize" in done.stdout and "--qat" in done.stdout
