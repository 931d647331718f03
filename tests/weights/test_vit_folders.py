"""A folder of transformers with a ViT or DeiT is loaded as what its config.json says, and answers as it does."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import zoo
from zoo.files import FileError

transformers = pytest.importorskip("transformers")

SIZES = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 96,
         "image_size": 48, "patch_size": 8}  # fmt: skip
TINY = {"hidden_size": 192, "num_hidden_layers": 12, "num_attention_heads": 3, "intermediate_size": 768}


def saved(folder: Path, named: str, **settings: Any) -> Any:
    """The network, after it was written to `folder`."""
    config = transformers.DeiTConfig if named.startswith("DeiT") else transformers.ViTConfig
    torch.manual_seed(0)
    theirs = getattr(transformers, named)(config(**settings)).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape))
    theirs.save_pretrained(folder)
    return theirs


@pytest.mark.parametrize(
    ("named", "settings"),
    [
        ("ViTForImageClassification", {"num_labels": 7}),
        (
            "ViTForImageClassification",
            {"num_labels": 3, "qkv_bias": False, "num_channels": 1, "hidden_act": "gelu_new"},
        ),
        ("ViTForImageClassification", {"image_size": [48, 64], "layer_norm_eps": 1e-6}),
        ("ViTModel", {}),
        ("ViTForMaskedImageModeling", {"encoder_stride": 8}),
        ("DeiTForImageClassification", {"num_labels": 5}),
        ("DeiTForImageClassificationWithTeacher", {"num_labels": 5}),
        ("DeiTModel", {}),
    ],
)
@torch.inference_mode()
def test_the_same_answers(named: str, settings: dict[str, Any], tmp_path: Path) -> None:
    theirs = saved(tmp_path, named, **{**SIZES, **settings})
    ours = zoo.load(tmp_path)
    x = torch.randn(3, ours.spec.input.channels, *ours.spec.input.size)
    if "Classification" in named:
        expected = theirs(x).logits
    else:
        hidden = getattr(theirs, "vit", theirs)(x).last_hidden_state
        expected = hidden[:, :2].mean(1) if named.startswith("DeiT") else hidden[:, 0]
    found = ours(x)
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()
    zoo.save(ours, tmp_path / "ours")
    assert torch.equal(zoo.load(tmp_path / "ours")(x), found)


def test_a_known_size_has_its_name_and_classes(tmp_path: Path) -> None:
    names = {0: "cat", 1: "dog", 2: "owl"}
    saved(tmp_path, "ViTForImageClassification", **TINY, id2label=names, label2id={v: k for k, v in names.items()})
    model = zoo.create("vit-tiny-patch16-224", weights=tmp_path)
    assert model.spec.name == "vit_tiny_patch16_224" and model.labels == ("cat", "dog", "owl")
    # DeiTs without a second token are published as ViTs.
    assert zoo.create("deit-tiny-patch16-224", weights=tmp_path).spec.name == "deit_tiny_patch16_224"
    with pytest.raises(ValueError, match="holds a vit_tiny_patch16_224, not a deit_small_patch16_224"):
        zoo.create("deit-small-patch16-224", weights=tmp_path)


@pytest.mark.parametrize(("processor", "cut"), [("ViTImageProcessor", False), ("DeiTImageProcessor", True)])
def test_pictures_are_prepared_as_there(processor: str, cut: bool, tmp_path: Path) -> None:
    """Squashed to a square, whatever their shape; DeiT's are cut then."""
    named = "ViTForImageClassification" if processor.startswith("ViT") else "DeiTForImageClassification"
    saved(tmp_path, named, **{**SIZES, "image_size": 224, "patch_size": 32})
    theirs = getattr(transformers, processor)()
    theirs.save_pretrained(tmp_path)
    file = tmp_path / "preprocessor_config.json"
    told = json.loads(file.read_text())
    short = {key: told[key] for key in ("do_resize", "do_normalize", "image_mean", "image_std")}  # as of old
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8))
    expected = torch.as_tensor(np.asarray(theirs(picture)["pixel_values"]))
    for settings in (told, {**short, "size": told["size"]["height"], **({"crop_size": 224} if cut else {})}, None):
        file.unlink() if settings is None else file.write_text(json.dumps(settings))
        spec = zoo.load(tmp_path).spec
        assert spec.input.squash and zoo.ModelSpec.loads(spec.dumps()) == spec
        off = float((zoo.preprocess(spec)(picture) - expected).abs().mean())
        assert off < 0.01  # one level of 255 is 0.01 to 0.02
        for changed in ({"squash": False}, {"interpolation": "bicubic" if not cut else "bilinear"}):
            other = spec.replace(input=replace(spec.input, **changed))
            assert (zoo.preprocess(other)(picture) - expected).abs().mean() > 5 * off


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"hidden_act": "quick_gelu"}, "quick_gelu"),
        ({"patch_size": [8, 4]}, "square"),
        ({"num_hidden_layers": 10**6}, "more than"),
        ({"hidden_size": "64"}, "not a whole number"),
        ({"num_attention_heads": 0}, "among 0 heads"),
        ({"num_channels": 10**15}, "channels"),
        ({"layer_norm_eps": 10**400}, "a number has 401 digits"),
        ({"architectures": ["ViTForImageClassificationWithTeacher"]}, r"cls_classifier\.weight is missing"),
    ],
)
def test_what_the_zoo_has_not_is_refused(changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    saved(tmp_path, "ViTForImageClassification", **SIZES)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, **changes}))
    with pytest.raises(FileError, match=said) as error:
        zoo.load(tmp_path)
    assert str(tmp_path) in str(error.value)
