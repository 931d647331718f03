"""Files that are broken or mean harm: one clear FileError each, naming the file, and no memory taken."""

import pickle
import random
import shutil

import pytest
import torch

from hostile_files import refused, write
from zoo import registry
from zoo.model.build import build
from zoo.weights.file import FileError, load, read_header, save_file
from zoo.weights.header import source_of


def test_the_untouched_file_is_good(good, tmp_path):
    _, header, body = good
    load(write(tmp_path / "m", header, body))


def test_truncated_anywhere(good, tmp_path):
    content = good[0].read_bytes()
    length = int.from_bytes(content[:8], "little")
    rng = random.Random(0)
    cuts = {*range(20), length, length + 7, length + 8, length + 9, len(content) - 1}
    cuts |= {rng.randrange(len(content)) for _ in range(40)}
    for cut in sorted(cuts):
        path = tmp_path / "m"
        path.write_bytes(content[:cut])
        refused(path, "is empty" if cut == 0 else "is truncated|not a safetensors file")


def test_bytes_behind_the_end(good, tmp_path):
    path = tmp_path / "m"
    path.write_bytes(good[0].read_bytes() + b"\0")
    refused(path, "belong to no tensor")


@pytest.mark.parametrize("length", [0, 1, 100, 2**31, 2**63, 2**64 - 1])
def test_a_length_that_lies(length, good, tmp_path):
    _, header, body = good
    refused(write(tmp_path / "m", header, body, length=length), "truncated|does not parse|not a safetensors")


def test_a_huge_header_is_refused_unread(tmp_path):
    path = tmp_path / "m"
    with path.open("wb") as file:  # sparse on disk: nothing is written but the ends
        file.write((2**30).to_bytes(8, "little") + b"{")
        file.truncate(2**30 + 100)
    refused(path, "its header claims 1,073,741,824 bytes; more than")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (pickle.dumps({"weight": 1}, protocol=2), "is a pickle.*`zoo convert .*--arch NAME --out FOLDER`"),
        (pickle.dumps({"weight": list(range(99))}, protocol=5), "is a pickle"),
        (b"PK\x03\x04" + b"\0" * 100, "is a pickle"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "Git-LFS pointer.*git lfs pull"),
        (b"<!DOCTYPE html><html></html>", "not a safetensors file"),
        (b"\0" * 100, "not a safetensors file"),
    ],
)
def test_other_kinds_of_files(content, words, tmp_path):
    path = tmp_path / "pytorch_model.bin"
    path.write_bytes(content)
    refused(path, words)


def test_what_torch_saves_is_refused_and_never_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return open, (str(tmp_path / "ran"), "w")

    for zipped in (True, False):
        torch.save(Trap(), tmp_path / "m.pth", _use_new_zipfile_serialization=zipped)
        refused(tmp_path / "m.pth", "is a pickle")
    with pytest.raises(FileError, match=r"only pickles \(m.pth\).*safetensors"):
        load(tmp_path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("source", ["x", None, [1]])
def test_an_origin_of_another_type_counts_as_none(tmp_path, source):
    model = build(registry.spec("mobilenetv2_cifar_small"))
    model.made = {"source": source}
    save_file(model, tmp_path / "m.safetensors")
    assert source_of(load(tmp_path / "m.safetensors").made) == {}


def test_rows_that_timm_has_no_place_for(tmp_path):
    spec = registry.spec("resnet18")
    rows = [row.replace(name="foo") if row.name == "s2_1" else row for row in spec]
    names = {"zoo.spec": spec.replace(rows=tuple(rows)).dumps(), "zoo.names": "timm"}
    write(tmp_path / "m.safetensors", {"__metadata__": names})
    refused(tmp_path / "m.safetensors", "Row 'foo' of 'resnet18' has no place in timm's network")
    write(tmp_path / "m.safetensors", {"__metadata__": {**names, "zoo.names": "other"}})
    refused(tmp_path / "m.safetensors", "only timm's are known")


def test_folders_and_paths_without_a_model(good, tmp_path):
    with pytest.raises(FileError, match=r"no such file or folder.*zoo\.create"):
        load(tmp_path / "mobilenet")
    with pytest.raises(FileError, match="it holds nothing"):
        load(tmp_path)
    shutil.copy(good[0], tmp_path / "other.safetensors")
    with pytest.raises(FileError, match=r"has no model.safetensors, but \['other.safetensors'\]"):
        load(tmp_path)
    with pytest.raises(FileError, match="cannot be read: Is a directory"):
        read_header(tmp_path)
    with pytest.raises(FileError, match="cannot be read: No such file"):
        read_header(tmp_path / "missing")
