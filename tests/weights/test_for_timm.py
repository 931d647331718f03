"""What zoo.save writes of a dense network is read by timm too, and networks take other channels as timm's do."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path

import pytest
import torch

import zoo
from daily import daily
from networks import randomize
from zoo.catalog import resolve
from zoo.spec import SpecError

timm = pytest.importorskip("timm")


@pytest.mark.parametrize(
    ("arch", "classes"), [("resnet18", 3), ("mobilenetv2_035", 1000), ("mobilenetv3_small_050", 5)]
)
@torch.inference_mode()
def test_timm_reads_the_folder(arch: str, classes: int, tmp_path: Path) -> None:
    model = randomize(zoo.create(arch, weights=None, num_classes=classes))
    model.labels = tuple(f"class {i}" for i in range(classes))
    zoo.save(model, tmp_path)
    theirs = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    expected = model(x)
    assert (theirs(x) - expected).abs().max() <= 1e-5 * expected.abs().max()
    again = zoo.load(tmp_path)
    assert (again.spec, again.labels) == (model.spec, model.labels)
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in again.state_dict().items())


def test_a_sparse_network_stays_packed(tmp_path: Path) -> None:
    model = zoo.create("mobilenetv2_035", weights=None, num_classes=3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter[torch.rand(parameter.shape) < 0.9] = 0
    zoo.save(model, tmp_path)
    assert zoo.load(tmp_path).spec == model.spec
    assert (tmp_path / "model.safetensors").stat().st_size < sum(p.nbytes for p in model.parameters()) / 2


@pytest.mark.parametrize(
    ("arch", "channels"),
    daily(
        product(("resnet18", "deit_tiny_patch16_224"), (1, 2, 4, 7)),
        [("resnet18", 1), ("resnet18", 7), ("deit_tiny_patch16_224", 4)],
    ),
)
@torch.inference_mode()
def test_other_channels_are_adapted_as_timm_does(arch: str, channels: int, tmp_path: Path) -> None:
    before = zoo.create(arch, weights=None, num_classes=3)
    row = before.spec.rows[0].name
    zoo.save(before, tmp_path)
    file = tmp_path / "model.safetensors"
    overlay = {"file": str(file), "num_classes": 3, "hf_hub_id": None, "url": None, "custom_load": False}
    theirs = timm.create_model(arch, pretrained=True, pretrained_cfg_overlay=overlay, num_classes=3, in_chans=channels)
    size = before.spec.input.size if row == "embed" else (64, 64)
    x = torch.randn(1, channels, *size, generator=torch.Generator().manual_seed(0))
    expected = theirs.eval()(x)
    edited = zoo.edit(before, row, in_channels=channels)
    created = zoo.create(arch, weights=tmp_path, in_chans=channels)
    for ours in (edited, created):
        assert (ours(x) - expected).abs().max() <= 1e-5 * expected.abs().max()
        assert ours.spec.input.channels == channels == len(ours.spec.input.mean) == len(ours.spec.input.std)
    zoo.save(edited, tmp_path / "edited")
    assert zoo.load(tmp_path / "edited").spec == edited.spec


def test_channels_that_cannot_be() -> None:
    with pytest.raises(ValueError, match="in_chans is a whole number"):
        zoo.create("mobilenet", in_chans=0)
    with pytest.raises(ValueError, match="channels of pictures are a whole number from 1 to 8192, not 1000000000"):
        zoo.create("mobilenet", in_chans=10**9)
    with pytest.raises(SpecError, match="is int8: change the channels of the float32 network"):
        zoo.create("mobilenet-int8", in_chans=1)
    assert zoo.create("mobilenet", in_chans=3).spec == zoo.create("mobilenet").spec


@pytest.mark.parametrize("name", ["hf-hub:you/your-network", "you/your-network", "timm/no_such_network.at_all"])
def test_an_address_is_what_it_holds(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """create asks for the repository as load does."""
    asked = []
    model = zoo.create("mobilenetv2_cifar", weights=None)
    zoo.save(model, tmp_path / "there")

    def fetch(address: object, **options: object) -> Path:
        asked.append(str(address))
        return tmp_path / "there"

    monkeypatch.setattr("zoo.weights.hub.fetch", fetch)
    assert zoo.create(name).spec == model.spec and asked == [f"hf-hub:{name.removeprefix('hf-hub:')}"]
    assert zoo.create(name, num_classes=3).spec.rows[-1].args["num_classes"] == 3
    zoo.create(name, revision="v1")
    assert asked[-1].endswith("@v1")


def test_timms_name_of_what_is_published() -> None:
    """It is the zoo's own name, with what is pinned of it."""
    assert resolve("timm/resnet18.a1_in1k") == resolve("resnet18.a1_in1k")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model_args": {"output_stride": 8}}, "model_args says output_stride: 8"),
        ({"model_args": {"global_pool": "max"}}, "global_pool: 'max'"),
        ({"model_args": {"img_size": "big"}}, "img_size"),
        ({"model_args": [1]}, "no object"),
        ({"pretrained_cfg": {"new": 3}}, "pretrained_cfg says new: 3, a setting that the zoo does not know"),
        ({"new": 3}, "config.json says new: 3"),
        ({"pretrained_cfg": {"crop_mode": "border"}}, "border"),
    ],
)
def test_settings_of_timm_that_the_zoo_has_not(changes: dict[str, object], said: str, tmp_path: Path) -> None:
    arch = "vit_tiny_patch16_224"
    theirs = timm.create_model(arch, num_classes=3, img_size=32)
    timm.models.save_for_hf(theirs, tmp_path, safe_serialization=True)
    file = tmp_path / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))
    with pytest.raises(ValueError, match=said):
        zoo.load(tmp_path)


def folder_of_timm(folder: Path, **changes: object) -> Path:
    timm.models.save_for_hf(timm.create_model("mobilenetv2_035", num_classes=3), folder, safe_serialization=True)
    config = folder / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), **changes}))
    return folder


@pytest.mark.parametrize("names", [["a", "b", "c"], {"0": "a", "1": "b", "2": "c"}, {"2": "c", "0": "a", "1": "b"}])
def test_labels_of_timms_folders(names: object, tmp_path: Path) -> None:
    assert zoo.load(folder_of_timm(tmp_path, label_names=names)).labels == ("a", "b", "c")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"label_names": {"a": "0", "b": "1"}}, "names 2 classes, and its classifier has 3: give a name each"),
        ({"label_names": {"0": "a", "3": "d"}}, "give a name each"),
        ({"label_names": "abc"}, "label_names: 'abc', which is no list of names"),
        ({"num_classes": 7}, "num_classes: 7, and its weights have 3"),
        ({"model_args": {"num_classes": 7}}, r"model_args\.num_classes: 7, and its weights have 3"),
    ],
)
def test_classes_that_the_weights_do_not_have(changes: dict[str, object], words: str, tmp_path: Path) -> None:
    with pytest.raises(zoo.FileError, match=words):
        zoo.load(folder_of_timm(tmp_path, **changes))
