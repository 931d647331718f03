"""`adopt`: a network of timm or torchvision becomes the zoo's, and any other module is one clear error."""

from __future__ import annotations

import pytest
import torch
import torch.nn as nn

import zoo
from zoo import kinds, registry
from zoo.adopt import AdoptionError

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
    small = zoo.compress(ours, "pruned-sparse-int8", macs=0.3, calibration=torch.randn(4, 3, 64, 64))
    assert kinds.cost(small.spec).macs <= 0.3 * kinds.cost(ours.spec).macs
    zoo.save(small, tmp_path / "small")
    assert zoo.load(tmp_path / "small").made["adopted"] == "timm resnet18"


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
        (lambda: torchvision.models.squeezenet1_0(), "This SqueezeNet of torchvision is none of the zoo's"),
        (lambda: timm.create_model("resnet18", stem_width=32, stem_type="deep"), "This resnet18 of timm was changed"),
        (lambda: relu_for_gelu(timm.create_model("resnet18")), "but it answers otherwise"),
        (lambda: timm.create_model("resnet18", output_stride=8), "but it answers otherwise"),
        (lambda: timm.create_model("resnet18", num_classes=0), "This resnet18 of timm was changed"),
        (lambda: timm.create_model("resnet18").half(), "float16"),
    ],
)
def test_what_is_not_known_is_one_clear_error(module, message: str) -> None:
    with pytest.raises(AdoptionError, match=message):
        zoo.adopt(module())
