"""Saving: whole or not at all, and only what the spec says."""

import errno
import os

import pytest
import torch
import torch.nn as nn

from saved_models import bits, digest, make
from zoo.passes.compress import compress
from zoo.weights import file as file_module
from zoo.weights.file import FileError, load, save, save_file


def test_writing_to_a_loaded_model_changes_neither_file_nor_twin(tmp_path):
    save_file(make(), tmp_path / "m")
    before = (tmp_path / "m").read_bytes()
    first, second = load(tmp_path / "m"), load(tmp_path / "m")
    with torch.no_grad():
        first.classifier.fc.weight.fill_(7.0)
    assert (tmp_path / "m").read_bytes() == before
    assert not (second.classifier.fc.weight == 7.0).any()


def test_saving_over_a_mapped_file_leaves_the_loaded_model_alone(tmp_path):
    model = make()
    save(model, tmp_path)
    loaded = load(tmp_path)
    for parameter in model.parameters():
        parameter.data.fill_(3.0)
    expected = digest(load(tmp_path).state_dict())
    save(model, tmp_path)
    assert digest(loaded.state_dict()) == expected
    save(loaded, tmp_path)  # and a model can be saved over the very file it is mapped from
    assert digest(load(tmp_path).state_dict()) == expected


def test_any_memory_format_saves(tmp_path):
    model = make()
    expected = bits(model.state_dict())
    model.to(memory_format=torch.channels_last)
    assert not model.stem.conv.weight.is_contiguous()
    model.classifier.fc.weight.data = model.classifier.fc.weight.data.T.contiguous().T
    save_file(model, tmp_path / "m")
    assert bits(load(tmp_path / "m").state_dict()) == expected


def test_a_file_gets_the_usual_permissions(tmp_path):
    (tmp_path / "plain").touch()
    save_file(make(), tmp_path / "m")
    assert (tmp_path / "m").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize("failure", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_failing_write_leaves_the_old_file_whole(step, failure, tmp_path, monkeypatch):
    model = make()
    save(model, tmp_path)
    before = {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()}
    model.classifier.fc.weight.data.fill_(1.0)

    def fail(*args):
        raise failure

    monkeypatch.setattr(file_module.os, step, fail)
    full = isinstance(failure, OSError)
    words = "No space left on device; what was there is untouched" if full else None
    with pytest.raises(FileError if full else KeyboardInterrupt, match=words):
        save(model, tmp_path)
    assert {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()} == before


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_is_one_clear_error(tmp_path, monkeypatch):
    model = make()
    monkeypatch.setattr(file_module.Path, "open", lambda path, mode: os.fdopen(os.open("/dev/full", os.O_WRONLY), "wb"))
    with pytest.raises(FileError, match="No space left on device"):
        save_file(model, tmp_path / "m")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda m: setattr(m.s2_1.depthwise.conv, "stride", (2, 2)), "'s2_1'.*s2_1.depthwise.conv"),
        (lambda m: setattr(m.s3_2, "skip", False), "'s3_2'.*skip"),
        (lambda m: setattr(m.s2_1.expand, "act", nn.ReLU()), "'s2_1'.*s2_1.expand.act"),
        (lambda m: setattr(m.stem.bn, "eps", 1e-3), "'stem'.*stem.bn"),
        (lambda m: setattr(m.classifier, "fc", nn.Linear(256, 3)), "'classifier'.*classifier.fc"),
        (lambda m: setattr(m.stem, "extra", nn.ReLU()), "'stem'.*stem.extra.*gone|there"),
        (lambda m: m.stem.register_buffer("more", torch.zeros(1)), "'stem'.*stem.more is not expected"),
        (lambda m: m.register_buffer("loose", torch.zeros(1)), "'loose'.*no row"),
        (lambda m: m.add_module("late", nn.ReLU()), "'late'.*rows are others"),
        (lambda m: delattr(m, "pool"), "'pool'.*rows are others"),
        (lambda m: m.half(), "float16.*model.float"),
        (lambda m: m.classifier.double(), "'classifier'.*float64.*model.float"),
        (lambda m: m.to_empty(device="meta"), "no values"),
        (lambda m: setattr(m, "labels", ("one", "two")), "2 labels for 10 classes"),
        (lambda m: setattr(m, "labels", ("\x1b[31m",) * 10), "cannot be printed"),
        (lambda m: setattr(m, "labels", tuple(range(10))), "labels are strings"),
        (lambda m: setattr(m, "made", {"when": object()}), "model.made.*object"),
        (lambda m: setattr(m, "made", {"loss": float("nan")}), "model.made"),
        (lambda m: setattr(m, "spec", m.spec.edit("s3_2", skip=False)), "'s3_2'"),
    ],
)
def test_what_the_spec_does_not_say_is_not_saved(edit, words, tmp_path):
    model = make()
    edit(model)
    with pytest.raises(FileError, match=words):
        save_file(model, tmp_path / "m")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("wrap", [nn.Sequential, nn.DataParallel])
def test_only_a_model_is_saved(wrap, tmp_path):
    for write in (save, save_file):
        with pytest.raises(FileError, match="Only a zoo model can be saved"):
            write(wrap(make()), tmp_path / "m")
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize("passes", ["", "int8"])
def test_the_default_dtype_does_not_matter(passes, tmp_path):
    model = make()
    save(compress(model, passes, calibration=torch.randn(4, 3, 32, 32)) if passes else model, tmp_path / "a")
    torch.set_default_dtype(torch.float64)
    try:
        save(load(tmp_path / "a"), tmp_path / "b")
    finally:
        torch.set_default_dtype(torch.float32)
    assert (tmp_path / "b" / "model.safetensors").read_bytes() == (tmp_path / "a" / "model.safetensors").read_bytes()


def test_training_mode_and_gradients_are_no_edit(tmp_path):
    model = make().train()
    model(torch.randn(2, 3, 32, 32)).sum().backward()
    model.stem.requires_grad_(False)
    save_file(model, tmp_path / "m")
    assert bits(load(tmp_path / "m").state_dict()) == bits(model.state_dict())


def test_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "taken").touch()
    with pytest.raises(FileError, match="taken: cannot be a folder: File exists"):
        save(make(), tmp_path / "taken")
    with pytest.raises(FileError, match="cannot be written: No such file"):
        save_file(make(), tmp_path / "missing" / "m")


def test_an_empty_path_to_write_to_is_refused_as_one() -> None:
    with pytest.raises(FileError, match=r"The path is empty \(''\): give a folder to write to"):
        save(make(), "")
    with pytest.raises(FileError, match=r"The path is empty \(''\): give a file to write to"):
        save_file(make(), "")
