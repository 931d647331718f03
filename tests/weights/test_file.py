"""What is saved is what is loaded, whatever happens in between."""

import errno
import json
import os
import subprocess
import sys
from hashlib import sha256

import numpy as np
import pytest
import torch
import torch.nn as nn
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from safetensors import safe_open

from zoo import kinds, registry
from zoo.model.build import Model, build
from zoo.passes.compress import compress
from zoo.weights import file as file_module
from zoo.weights.bitmask import pack, unpack
from zoo.weights.file import FileError, load, read_header, save, save_file

DIGEST = """
import sys, hashlib, torch
from zoo.weights.file import load
model = load(sys.argv[1])
digest = hashlib.sha256()
for key, value in sorted(model.state_dict().items()):
    digest.update(key.encode() + value.contiguous().numpy().tobytes())
print(digest.hexdigest())
"""


def make(name: str = "mobilenetv2_cifar_small") -> Model:
    torch.manual_seed(0)
    model = build(registry.spec(name))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 1.5)
    model.labels = tuple(f"class {i}" for i in range(model.classifier.fc.out_features))
    model.made = {"recipe": "random", "epochs": 3, "nested": {"lr": [0.1, 0.2]}}
    return model


def bits(state: dict[str, torch.Tensor]) -> dict[str, tuple[torch.dtype, bytes]]:
    return {key: (value.dtype, value.detach().contiguous().numpy().tobytes()) for key, value in state.items()}


def digest(state: dict[str, torch.Tensor]) -> str:
    total = sha256()
    for key, (_, content) in sorted(bits(state).items()):
        total.update(key.encode() + content)
    return total.hexdigest()


def zero_most(model: Model, share: float = 0.9) -> None:
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.data.masked_fill_(torch.rand_like(parameter) < share, 0.0)


@pytest.mark.parametrize("name", ["mobilenetv2_cifar_small", "mobilenetv2_035"])
def test_a_folder_round_trip_keeps_every_bit(name, tmp_path):
    model = make(name)
    save(model, tmp_path / "new" / "folder")
    again = load(tmp_path / "new" / "folder")
    assert (again.spec, again.labels, again.made) == (model.spec, model.labels, model.made)
    assert list(again.state_dict()) == list(model.state_dict())
    assert bits(again.state_dict()) == bits(model.state_dict())
    assert not again.training
    x = torch.randn(2, 3, 37, 32)
    assert torch.equal(again(x), model(x))


def test_a_fresh_process_loads_the_same_bits(tmp_path):
    model = make()
    zero_most(model, 0.5)
    save_file(model, tmp_path / "m.safetensors")
    run = subprocess.run(
        [sys.executable, "-c", DIGEST, str(tmp_path / "m.safetensors")], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == digest(model.state_dict())


def test_reading_a_header_imports_no_torch(tmp_path):
    save_file(make(), tmp_path / "m.safetensors")
    code = (
        "import sys; from zoo.weights.reader import read_header; header = read_header(sys.argv[1]); "
        "print(header.spec.name, len(header.labels), header.made['epochs'], {'torch', 'numpy'} & set(sys.modules))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "m.safetensors")], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "mobilenetv2_cifar_small 10 3 set()"


def test_the_hub_files_say_the_same(tmp_path):
    model = make()
    save(model, tmp_path)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["architecture"] == "mobilenetv2_cifar_small"
    assert config["library_name"] == "zoo"
    assert config["spec"] == model.spec.to_json()
    assert config["facts"] == {"labels": list(model.labels)}
    assert config["made"] == model.made
    readme = (tmp_path / "README.md").read_text()
    cost = kinds.cost(model.spec)
    assert readme.startswith("---\nlibrary_name: zoo\n")
    assert "zoo.load(" in readme
    assert 'pipeline_tag: "image-classification"\n' in readme
    for fact in (f"{cost.macs:,}", f"{cost.parameters:,}", "10 classes", "32x32"):
        assert fact in readme


def test_one_file_is_enough_and_wins_over_the_config(tmp_path):
    model = make()
    save(model, tmp_path)
    (tmp_path / "config.json").write_text('{"spec": "nonsense"}')
    assert load(tmp_path).spec == model.spec
    (tmp_path / "config.json").unlink()
    assert load(str(tmp_path)).labels == model.labels


def test_safetensors_itself_reads_the_file(tmp_path):
    model = make()
    save_file(model, tmp_path / "m.safetensors")
    with safe_open(tmp_path / "m.safetensors", framework="pt") as opened:
        assert opened.metadata()["format"] == "pt"
        assert json.loads(opened.metadata()["zoo.facts"]) == {"labels": list(model.labels)}
        found = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118
    assert bits(found) == bits(model.state_dict())


def test_the_same_model_gives_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        save_file(make(), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_plain_tensors_are_mapped_and_packed_ones_are_small(tmp_path):
    model = make()
    save_file(model, tmp_path / "dense")
    with (tmp_path / "dense").open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    state = load(tmp_path / "dense").state_dict()
    starts = {value.data_ptr() - header[key]["data_offsets"][0] for key, value in state.items()}
    assert len(starts) == 1  # all lie in one mapping
    zero_most(model)
    save_file(model, tmp_path / "sparse")
    assert (tmp_path / "sparse").stat().st_size < 0.25 * (tmp_path / "dense").stat().st_size
    assert bits(load(tmp_path / "sparse").state_dict()) == bits(model.state_dict())
    stored = read_header(tmp_path / "sparse").tensors
    assert "classifier.fc.weight.bitmask" in stored
    assert "classifier.fc.weight" not in stored


@pytest.mark.parametrize("passes", ["int8", "sparse-int8", "pruned-int8"])
def test_compressed_models_come_back_bit_by_bit(passes, tmp_path):
    dense = make()
    x = torch.randn(4, 3, 32, 32)
    model = compress(dense, passes, calibration=x)
    save_file(dense, tmp_path / "dense")
    save_file(model, tmp_path / "m")
    again = load(tmp_path / "m")
    assert again.spec == model.spec
    assert bits(again.state_dict()) == bits(model.state_dict())
    assert any(value.dtype == torch.int8 for value in again.state_dict().values())
    assert torch.equal(again(x), model(x))
    save_file(model, tmp_path / "after it ran")
    assert (tmp_path / "after it ran").read_bytes() == (tmp_path / "m").read_bytes()
    assert (tmp_path / "m").stat().st_size < 0.34 * (tmp_path / "dense").stat().st_size
    assert ("classifier.fc.weight.bitmask" in read_header(tmp_path / "m").tensors) == ("sparse" in passes)


def test_a_sparse_model_is_small(tmp_path):
    dense = make()
    save_file(dense, tmp_path / "dense")
    save_file(compress(dense, "sparse", sparsity=0.8), tmp_path / "m")
    assert (tmp_path / "m").stat().st_size < 0.36 * (tmp_path / "dense").stat().st_size


def test_weights_of_nothing_but_zeros(tmp_path):
    model = make()
    for parameter in model.parameters():
        parameter.data.zero_()
    save_file(model, tmp_path / "m")
    assert bits(load(tmp_path / "m").state_dict()) == bits(model.state_dict())


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


def with_zeros(dtype: type) -> st.SearchStrategy[np.ndarray]:
    shapes = array_shapes(min_dims=2, max_dims=4, min_side=1, max_side=9)
    elements = (
        st.one_of(st.just(0), st.integers(-128, 127))
        if dtype is np.int8
        else st.one_of(st.just(0.0), st.just(-0.0), st.floats(width=32))
    )
    return shapes.flatmap(lambda shape: arrays(dtype, shape, elements=elements, fill=st.just(0)))


@given(st.one_of(with_zeros(np.int8), with_zeros(np.float32)))
def test_packing_keeps_every_bit_and_only_shrinks(array):
    packed = pack(array)
    if packed is None:
        zeros = np.count_nonzero(np.frombuffer(array.tobytes(), f"i{array.itemsize}") == 0)
        assert -(-array.size // 8) + (array.size - zeros) * array.itemsize >= array.nbytes
        return
    mask, values = packed
    assert mask.nbytes + values.nbytes < array.nbytes
    again = unpack(mask, values, array.shape, "here")
    assert (values.dtype, again.dtype, again.shape) == (array.dtype, array.dtype, array.shape)
    assert again.tobytes() == array.tobytes()


def test_negative_zero_is_a_value():
    array = np.zeros((8, 8), np.float32)
    array[3, 4] = -0.0
    mask, values = pack(array)
    assert len(values) == 1
    assert np.signbit(values[0])
    assert np.signbit(unpack(mask, values, (8, 8), "here")[3, 4])


def test_the_first_value_is_the_lowest_bit():
    array = np.zeros((3, 3), np.int8)
    array[0, 0], array[2, 2] = 5, -6
    mask, values = pack(array)
    assert (mask.tolist(), values.tolist()) == ([1, 1], [5, -6])


@pytest.mark.parametrize("array", [np.zeros(64, np.float32), np.zeros((8, 8), np.int64), np.ones((8, 8), np.float32)])
def test_what_is_not_packed(array):
    assert pack(array) is None


@pytest.mark.parametrize(
    ("mask", "count", "words"),
    [
        ([1, 0], 2, "marks 1 values, but 2 are stored"),
        ([3, 0], 1, "marks 2 values, but 1 are stored"),
        ([1, 2], 1, "bits set behind its 9 values"),
        ([1], 1, "has 2 bytes, not 1"),
        ([1, 0, 0], 1, "has 2 bytes, not 3"),
    ],
)
def test_a_mask_that_lies(mask, count, words):
    with pytest.raises(FileError, match=f"^file: key: .*{words}"):
        unpack(np.array(mask, np.uint8), np.ones(count, np.int8), (3, 3), "file: key")


def test_an_empty_path_to_write_to_is_refused_as_one() -> None:
    with pytest.raises(FileError, match=r"The path is empty \(''\): give a folder to write to"):
        save(make(), "")
    with pytest.raises(FileError, match=r"The path is empty \(''\): give a file to write to"):
        save_file(make(), "")
