"""`adopt`: a network of timm or torchvision becomes the zoo's, and any other module is one clear error."""

from __future__ import annotations

import pytest
import torch
import torch.nn as nn
from torch.nn.utils import parametrizations, prune

import zoo
from zoo import kinds, registry
from zoo.weights.adopt import AdoptionError

timm = pytest.importorskip("timm")
torchvision = pytest.importorskip("torchvision")


def trained(module: nn.Module) -> nn.Module:
    """As if someone had trained it: statistics away from their defaults; in train mode, as a loop leaves it."""
    torch.manual_seed(0)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_(0, 0.3)
            part.running_var.uniform_(0.5, 1.5)
    return module.train()


@pytest.mark.parametrize("arch", ["resnet18", "mobilenetv2_035", "efficientnet_b0", "mobilenetv3_small_050"])
def test_a_network_of_timm(arch: str) -> None:
    theirs = trained(timm.create_model(arch, num_classes=5))
    ours = zoo.adopt(theirs)
    assert theirs.training and not ours.training
    assert ours.spec == registry.spec(arch, num_classes=5)
    x = torch.randn(2, 3, 65, 97)
    theirs.eval()
    with torch.inference_mode():
        expected = theirs(x)
        assert (ours(x) - expected).abs().max() <= 1e-5 * expected.abs().max()


@pytest.mark.parametrize("make", ["resnet18", "resnet50", "mobilenet_v2"])
def test_a_network_of_torchvision(make: str) -> None:
    theirs = trained(getattr(torchvision.models, make)(num_classes=4))
    ours = zoo.adopt(theirs)
    assert ours.spec.name == {"mobilenet_v2": "mobilenetv2_100"}.get(make, make)
    assert (ours.spec.input.interpolation, ours.spec.rows[-1].args["num_classes"]) == ("bilinear", 4)


def test_a_head_put_on_by_hand() -> None:
    theirs = torchvision.models.resnet18()
    theirs.fc = nn.Linear(512, 3)
    assert zoo.adopt(theirs).spec["classifier"].args["num_classes"] == 3


def test_the_weights_are_copies() -> None:
    theirs = timm.create_model("resnet18")
    ours = zoo.adopt(theirs)
    with torch.no_grad():
        theirs.fc.weight.zero_()
    assert ours.classifier.fc.weight.any()


def test_the_preparation_is_that_of_its_configuration() -> None:
    theirs = timm.create_model("resnet18", pretrained_cfg_overlay={"mean": (0.5, 0.5, 0.5), "crop_pct": 1.0})
    assert (zoo.adopt(theirs).spec.input.mean, zoo.adopt(theirs).spec.input.crop) == ((0.5, 0.5, 0.5), 1.0)


def test_every_pass_takes_it(tmp_path) -> None:
    ours = zoo.adopt(trained(timm.create_model("resnet18", num_classes=10)))
    narrow = zoo.compress(ours, "pruned-sparse", macs=0.3)
    small = zoo.compress(narrow, "int8", calibration=torch.randn(4, 3, 64, 64))
    assert kinds.cost(small.spec).macs <= 0.3 * kinds.cost(ours.spec).macs
    zoo.save(small, tmp_path / "small")
    assert zoo.load(tmp_path / "small").made["adopted"] == "timm resnet18"


def other_head(module: nn.Module) -> nn.Module:
    module.fc = nn.Sequential(nn.Dropout(0.5), nn.Linear(512, 3))
    return module


def relu_for_gelu(module: nn.Module) -> nn.Module:
    module.layer1[0].act1 = nn.GELU()
    return module


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (
            lambda: nn.Sequential(nn.Conv2d(3, 8, 3)),
            r"takes a network of timm or torchvision, not torch\.nn.*ModelSpec",
        ),
        (lambda: timm.create_model("convnext_atto"), "timm's 'convnext_atto' is not among the zoo's"),
        (lambda: torchvision.models.squeezenet1_0(), "takes torchvision's ResNet-18.*not its SqueezeNet"),
        (lambda: timm.create_model("resnet18", stem_width=32, stem_type="deep"), "This resnet18 of timm was changed"),
        (lambda: relu_for_gelu(timm.create_model("resnet18")), "but it gives other answers"),
        (lambda: timm.create_model("resnet18", output_stride=8), "but it gives other answers"),
        (lambda: timm.create_model("resnet18", features_only=True), "gives a list.*adopt the whole network"),
        (lambda: torchvision.models.resnext50_32x4d(), "nearest to resnet50, but"),
        (lambda: other_head(torchvision.models.resnet18()), "nearest to resnet18, but fc.weight is missing"),
    ],
)
def test_what_is_not_known_is_one_clear_error(module, message: str) -> None:
    with pytest.raises(AdoptionError, match=message):
        zoo.adopt(module())


@pytest.mark.parametrize(
    ("arch", "settings", "shape"),
    [
        ("resnet18", {"num_classes": 0}, (2, 3, 64, 64)),
        ("resnet18", {"in_chans": 1}, (2, 1, 64, 64)),
        ("mobilenetv2_035", {"in_chans": 5}, (2, 5, 64, 64)),
        ("vit_tiny_patch16_224", {"num_classes": 3, "img_size": 64}, (2, 3, 64, 64)),
        ("deit_tiny_distilled_patch16_224", {"num_classes": 3, "img_size": (32, 48), "in_chans": 1}, (2, 1, 32, 48)),
        ("deit_tiny_distilled_patch16_224", {"num_classes": 0, "img_size": 32}, (2, 3, 32, 32)),
    ],
)
@torch.inference_mode()
def test_other_heads_channels_and_sizes(arch: str, settings: dict, shape: tuple[int, ...], tmp_path) -> None:
    """As a module, and as the folder that timm writes of it."""
    theirs = trained(timm.create_model(arch, **settings)).eval()
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    expected = theirs(x)
    timm.models.save_for_hf(theirs, tmp_path, safe_serialization=True)
    for ours in (zoo.adopt(theirs), zoo.load(tmp_path)):
        assert ours.spec.input.channels == shape[1] == len(ours.spec.input.mean)
        assert (ours(x) - expected).abs().max() <= 1e-5 * expected.abs().max().clamp_min(1)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_other_precisions_become_float32(dtype: torch.dtype) -> None:
    theirs = torchvision.models.resnet18(num_classes=3).to(dtype)
    ours = zoo.adopt(theirs)
    assert {value.dtype for value in ours.state_dict().values()} == {torch.float32, torch.int64}
    assert torch.equal(ours.state_dict()["stem.conv.weight"], theirs.conv1.weight.float())


@pytest.mark.parametrize(
    "made", [parametrizations.weight_norm, lambda conv: prune.l1_unstructured(conv, "weight", 0.5)]
)
def test_masks_and_parametrizations_count_as_the_weights_that_they_give(made) -> None:
    theirs = trained(timm.create_model("resnet18", num_classes=3)).eval()
    made(theirs.layer2[0].conv1)
    x = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        expected, weight = theirs(x), theirs.layer2[0].conv1.weight
        ours = zoo.adopt(theirs)
        assert torch.equal(theirs.layer2[0].conv1.weight, weight)
        assert (ours(x) - expected).abs().max() <= 1e-5 * expected.abs().max()
