"""Segmentation networks: torchvision's answers on the same weights, dilation as timm has it, any backbone."""

from __future__ import annotations

import pytest
import timm
import torch
import torchvision
from torch import Tensor

import zoo
from networks import lively, randomize
from reduced import reduced
from zoo import kinds, registry
from zoo.kinds.streams import edges_of
from zoo.model.build import Model, build
from zoo.models.segmentation import atrous
from zoo.spec import SpecError

NAMES = ("lraspp", "deeplabv3plus", "fastscnn")


def given_in_order(model: Model, theirs: torch.nn.Module, order: list[str]) -> None:
    """Their tensors, in the order of their modules, to our rows called `order` and in their order."""
    ours = model.state_dict()
    keys = [key for row in order for key in ours if key.startswith(f"{row}.")]
    values = list(theirs.state_dict().values())
    assert len(keys) == len(values)
    model.load_state_dict(
        {key: value.view(ours[key].shape) for key, value in zip(keys, values, strict=True)}, strict=False
    )


def as_torchvision(spec: zoo.ModelSpec) -> zoo.ModelSpec:
    """Torchvision taps the first map at an eighth, and dilates the block whose stride is gone."""
    head = spec["classifier"].replace(taps=("input", "s3_1"))
    changed = {"classifier": head, "s6_1": spec["s6_1"].replace(dilation=2)}
    rows = tuple(changed.get(row.name, row) for row in spec)
    eps = {row.name: row.replace(eps=1e-3) for row in rows if "eps" in kinds.arguments(row) and row.name != "aspp"}
    return spec.replace(rows=tuple(eps.get(row.name, row) for row in rows))


def test_lraspp_answers_as_torchvisions() -> None:
    theirs = torchvision.models.segmentation.lraspp_mobilenet_v3_large(
        weights=None, weights_backbone=None, num_classes=7
    )
    randomize(theirs)
    model = build(as_torchvision(registry.spec("lraspp", num_classes=7)))
    trunk = [row.name for row in model.spec if row.name.startswith(("stem", "s"))]
    given_in_order(model, theirs.backbone, trunk)
    given_in_order(model, theirs.classifier.cbr, ["aspp"])
    given_in_order(model, theirs.classifier.scale, ["gate"])
    model.classifier.fc.load_state_dict(theirs.classifier.high_classifier.state_dict())
    model.classifier.side.load_state_dict(theirs.classifier.low_classifier.state_dict())
    x = torch.randn(2, 3, 65, 97)
    with torch.inference_mode():
        expected = theirs(x)["out"]
        torch.testing.assert_close(model(x), expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize(
    ("name", "stride"), [("mobilenetv2_035", 16), ("mobilenetv2_035", 8), ("resnet18", 8), ("resnet50", 16)]
)
def test_strides_become_dilations_as_timms_do(name: str, stride: int) -> None:
    plain, theirs = randomize(timm.create_model(name)), timm.create_model(name, output_stride=stride).eval()
    theirs.load_state_dict(plain.state_dict())
    strided = zoo.adopt(plain)
    spec = strided.spec.replace(rows=atrous(strided.spec.rows, stride))
    model = build(spec)
    model.load_state_dict(strided.state_dict())
    x = torch.randn(1, 3, 65, 97)
    last = kinds.levels(spec)[-1]
    with torch.inference_mode():
        expected = theirs.forward_features(x)
        row = "head" if "head" in [one.name for one in spec] else last.row
        _, kept = model(x, taps=[row])
    assert last.reduction == stride
    torch.testing.assert_close(kept[row], expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize("name", NAMES)
def test_answers_have_the_size_of_the_picture(name: str) -> None:
    model = lively(reduced(registry.spec(name, num_classes=4), size=(64, 96)))
    for size in ((64, 96), (65, 97), (40, 33)):
        x = torch.randn(3, 3, *size)
        with torch.inference_mode():
            y = model(x)
            assert y.shape == (3, 4, *size) and kinds.row_shapes(model.spec, size)[-1] == (4, *size)
            alone = torch.cat([model(one) for one in x.split(1)])
        torch.testing.assert_close(alone, y, rtol=0, atol=1e-5 * float(y.abs().max()))


@pytest.mark.parametrize("backbone", ["tf_efficientnet_lite0", "resnet18", "mobilenetv1_100", "mobilenetv3_small_050"])
@pytest.mark.parametrize("name", ["lraspp", "deeplabv3plus"])
def test_any_backbone(name: str, backbone: str) -> None:
    model = zoo.create(name, backbone=backbone, num_classes=11, decoder_channels=32, device="meta")
    assert model(torch.empty(1, 3, 64, 96, device="meta")).shape == (1, 11, 64, 96)
    assert model.spec.task == "image-segmentation" and model.spec.input.mean == registry.spec(backbone).input.mean
    assert zoo.create(name, weights=None, num_classes=11, device="meta").spec.name == name


def test_the_weights_of_a_pruned_backbone_go_along(tmp_path) -> None:
    backbone = zoo.compress(lively(registry.spec("mobilenetv2_035")), "pruned", macs=0.5, importance="l2")
    model = zoo.create("lraspp", backbone=backbone, num_classes=3, output_stride=8)
    assert model.spec["s4_2"].args["mid_channels"] == backbone.spec["s4_2"].args["mid_channels"]
    assert torch.equal(model.s7_1.project.conv.weight, backbone.s7_1.project.conv.weight)
    assert [row.args.get("dilation", 1) for row in (model.spec["s4_1"], model.spec["s4_2"])] == [1, 2]
    assert model.made["backbone"]["name"] == "mobilenetv2_035"
    zoo.save(model, tmp_path / "m")
    x = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(zoo.load(tmp_path / "m")(x), model(x))


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ({"name_or_spec": "resnet18", "backbone": "resnet18"}, ValueError, "backbone= is for one of .*'lraspp'"),
        ({"name_or_spec": "fastscnn", "output_stride": 8}, ValueError, "output_stride= is for one of"),
        ({"name_or_spec": "lraspp", "backbone": "vit_tiny_patch16_224"}, SpecError, "has no maps before its pooling"),
        (
            {"name_or_spec": "lraspp", "backbone": "resnet20"},
            SpecError,
            "no map at 1/8 of the picture; its maps are at",
        ),
        ({"name_or_spec": "lraspp", "output_stride": 7}, SpecError, r"output_stride is one of \[8, 16, 32\], not 7"),
        ({"name_or_spec": "lraspp", "backbone_weights": "x"}, ValueError, "is for a backbone= by its name"),
        (
            {"name_or_spec": "lraspp", "backbone": 3},
            ValueError,
            "backbone= takes the name of a network, or a zoo model",
        ),
        ({"name_or_spec": "lraspp", "backbone": "resnet18", "weights": "x"}, ValueError, "is for fresh weights"),
    ],
)
def test_what_does_not_fit_is_refused(given: dict, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        zoo.create(**given)


def test_a_backbone_of_integers_is_refused() -> None:
    with pytest.raises(ValueError, match=r"takes a float network.*compress the whole network instead"):
        zoo.create("lraspp", backbone=int8_backbone())


def int8_backbone() -> Model:
    model = lively(registry.spec("mobilenetv2_035"))
    return zoo.compress(model, "int8", calibration=torch.randn(2, 3, 64, 64))


def test_every_edge_of_an_int8_segmenter_reads_codes() -> None:
    model = lively(reduced(registry.spec("deeplabv3plus"), size=(64, 64)))
    x: Tensor = torch.randn(4, 3, 64, 64)
    int8 = zoo.compress(model, "int8", calibration=x)
    assert all(row.precision == "int8" and edges_of(row) for row in int8.spec)
    edges = int8.get_submodule("aspp").edges
    assert (edges == edges[0]).all()  # five maps are joined as they are
