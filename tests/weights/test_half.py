"""Weights saved in half precision: half of the bytes, float32 when they are loaded."""

import pytest
import torch

import zoo
from zoo.weights.file import load, read_header, save, save_file


@pytest.mark.parametrize("name", ["resnet20", "resnet20-sparse", "resnet20-int8", "deepfm"])
def test_weights_are_rounded_and_nothing_else(name: str, tmp_path) -> None:
    model = zoo.create(name)
    save_file(model, tmp_path / "whole")
    save_file(model, tmp_path / "half", dtype="float16")
    given, found = model.state_dict(), load(tmp_path / "half").state_dict()
    for key, value in given.items():
        assert found[key].dtype == value.dtype
        weight = key.endswith("weight") and value.ndim > 1 and value.is_floating_point()
        assert torch.equal(found[key], value.half().float() if weight else value), key
    share = (tmp_path / "half").stat().st_size / (tmp_path / "whole").stat().st_size
    assert share <= (1 if "int8" in name else 0.7 if "sparse" in name or name == "deepfm" else 0.53)


def test_shards_under_the_names_of_timm_are_read(tmp_path) -> None:
    model = zoo.create("mobilenetv2_035", weights=None)
    save(model, tmp_path / "m", dtype="float16", max_shard_size=2**20)
    x = model.spec.input.example(1)
    with torch.inference_mode():
        torch.testing.assert_close(zoo.load(tmp_path / "m")(x), model(x), rtol=0.02, atol=0.02)
    names = read_header(tmp_path / "m" / "model.safetensors.index.json").tensors
    assert {dtype for dtype, _ in names.values()} >= {"float16", "float32"}


def test_what_half_precision_cannot_hold_is_refused_by_name(tmp_path) -> None:
    model = zoo.create("resnet20")
    with torch.no_grad():
        model.stem.conv.weight[0, 0, 0, 0] = 1e6
    with pytest.raises(ValueError, match=r"stem\.conv\.weight has a value"):
        save(model, tmp_path / "m", dtype="float16")
    assert not (tmp_path / "m").exists()


def test_another_dtype_is_refused(tmp_path) -> None:
    with pytest.raises(ValueError, match="dtype must be one of"):
        save(zoo.create("resnet20"), tmp_path / "m", dtype="int8")
