"""Equal to timm and torchvision on the same weights."""

import pytest
import torch
import torch.nn as nn

from zoo import registry
from zoo.build import Model, from_state
from zoo.spec import ModelSpec
from zoo.weights.file import FileError
from zoo.weights.keys import from_timm, from_torchvision

timm = pytest.importorskip("timm")
torchvision = pytest.importorskip("torchvision")

NAMES = [name for name, where in registry.MODELS.items() if where.endswith("mobilenetv2:imagenet")]


def randomize(model: nn.Module) -> nn.Module:
    """Statistics and affine parameters that no default value could stand in for."""
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
    return model.eval()


def pair(name: str, num_classes: int = 1000) -> tuple[nn.Module, Model]:
    theirs = randomize(timm.create_model(name, pretrained=False, num_classes=num_classes))
    spec = registry.spec(name, num_classes=num_classes)
    state = {key: value.clone() for key, value in theirs.state_dict().items()}
    return theirs, from_state(spec, from_timm(spec, state))


@torch.inference_mode()
def assert_same_logits(theirs: nn.Module, ours: nn.Module, x: torch.Tensor) -> None:
    expected, found = theirs(x), ours(x)
    assert expected.shape == found.shape
    assert expected.std() > 0
    assert (expected - found).abs().max() <= 1e-5 * expected.abs().max()


def test_every_size_is_here():
    assert len(NAMES) == 7


@pytest.mark.parametrize("num_classes", [1000, 7])
@pytest.mark.parametrize("name", NAMES)
def test_logits_of_timm_at_odd_sizes(name, num_classes):
    theirs, ours = pair(name, num_classes)
    assert_same_logits(theirs, ours, torch.randn(1, 3, 65, 97))


def test_logits_of_timm_at_full_size():
    theirs, ours = pair("mobilenetv2_100")
    height, width = ours.spec.input.size
    assert_same_logits(theirs, ours, torch.randn(1, 3, height, width))


def their_names(spec: ModelSpec, theirs: nn.Module) -> dict[str, str]:
    """Our key -> theirs: the key maps hand the very tensors on."""
    state = theirs.state_dict()
    keys = {id(value): key for key, value in state.items()}
    return {ours: keys[id(value)] for ours, value in from_timm(spec, state).items()}


@pytest.mark.parametrize("name", ["mobilenetv2_035", "mobilenetv2_110d"])
def test_gradients_of_timm(name):
    theirs, ours = pair(name, 7)
    names = their_names(ours.spec, theirs)
    x, target = torch.randn(4, 3, 49, 33, dtype=torch.float64), torch.tensor([0, 3, 6, 1])
    for model in (theirs, ours):
        model.double().train()
        nn.functional.cross_entropy(model(x), target).backward()
    expected = {key: parameter.grad for key, parameter in theirs.named_parameters()}
    found = {names[key]: parameter.grad for key, parameter in ours.named_parameters()}
    assert found.keys() == expected.keys()
    largest = max(grad.abs().max() for grad in expected.values())
    assert largest > 0
    for key, grad in expected.items():
        assert (grad - found[key]).abs().max() <= 1e-8 * largest, key
    for ours_key, their_key in names.items():  # the running statistics moved alike
        torch.testing.assert_close(ours.state_dict()[ours_key], theirs.state_dict()[their_key], rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("num_classes", [1000, 7])
def test_logits_of_torchvision(num_classes):
    theirs = randomize(torchvision.models.mobilenet_v2(num_classes=num_classes))
    spec = registry.spec("mobilenetv2_100", num_classes=num_classes)
    assert_same_logits(theirs, from_state(spec, from_torchvision(spec, theirs.state_dict())), torch.randn(1, 3, 65, 97))


def timm_state(name: str = "mobilenetv2_035") -> dict[str, torch.Tensor]:
    return timm.create_model(name, pretrained=False).state_dict()


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda s: s.pop("conv_stem.weight"), "conv_stem.weight is missing"),
        (lambda s: s.update(extra=torch.zeros(1)), "'extra' is not expected"),
        (lambda s: s.update({"bn2.bias": torch.zeros(3)}), r"bn2.bias is float32 of shape \(3,\), not"),
        (lambda s: s.update({"bn2.bias": torch.zeros(1280).half()}), "bn2.bias is float16"),
        (lambda s: s.clear(), "conv_stem.weight is missing; .*; and [0-9]+ more"),
    ],
)
def test_weights_that_do_not_fit(edit, words):
    state = timm_state()
    edit(state)
    with pytest.raises(FileError, match=f"weights of timm are not those of 'mobilenetv2_035': .*{words}"):
        from_timm(registry.spec("mobilenetv2_035"), state)


def test_weights_of_another_size_or_library():
    with pytest.raises(FileError, match=r"not those of 'mobilenetv2_050'.*and [0-9]+ more"):
        from_timm(registry.spec("mobilenetv2_050"), timm_state())
    with pytest.raises(FileError, match=r"classifier.weight is .*the number of classes"):
        from_timm(registry.spec("mobilenetv2_035", num_classes=7), timm_state())
    with pytest.raises(FileError, match=r"features.0.0.weight is missing"):
        from_torchvision(registry.spec("mobilenetv2_035"), timm_state())


def test_specs_without_a_map():
    spec = registry.spec("mobilenetv2_035")
    with pytest.raises(FileError, match=r"No key map from timm for 'resnet18'; there is one for \['mobilenetv2'\]"):
        from_timm(spec.replace(name="resnet18"), {})
    with pytest.raises(FileError, match=r"row 'stem' .* is not: load them into the dense spec"):
        from_timm(spec.edit("stem", precision="int8"), {})
