"""What is saved is what is loaded, whatever happens in between."""

import json
import subprocess
import sys

import pytest
import torch
from safetensors import safe_open

from saved_models import bits, digest, make
from zoo import kinds
from zoo.model.build import Model
from zoo.passes.compress import compress
from zoo.weights.file import load, read_header, save, save_file

DIGEST = """
import sys, hashlib, torch
from zoo.weights.file import load
model = load(sys.argv[1])
digest = hashlib.sha256()
for key, value in sorted(model.state_dict().items()):
    digest.update(key.encode() + value.contiguous().numpy().tobytes())
print(digest.hexdigest())
"""


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
