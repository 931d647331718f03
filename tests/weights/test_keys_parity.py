"""Equal to timm and torchvision on the same weights: every registered network that they have."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn as nn

from counting import counted_macs
from daily import daily
from networks import CONVOLUTIONAL, PICTURES, by_structure, randomize
from zoo import kinds, registry
from zoo.model.build import Model, build, from_state
from zoo.model.defaults import usual_defaults
from zoo.spec import ModelSpec
from zoo.weights.file import FileError
from zoo.weights.keys import from_timm, from_torchvision

timm = pytest.importorskip("timm")
torchvision = pytest.importorskip("torchvision")

NAMES = [name for name in registry.MODELS if timm.is_model(name)]
# Of every family a small one, of every kind of block at least one.
DIFFERENTIATED = [
    "mobilenetv1_100",
    "mobilenetv2_035",
    "mobilenetv2_110d",
    "mobilenetv3_small_050",
    "mobilenetv3_large_075",
    "resnet18",
    "resnet50",
    "vit_tiny_patch16_224",
    "deit_tiny_distilled_patch16_224",
    "efficientnet_b0",
    "tf_efficientnet_lite0",
]
DIFFERENTIATED_DAILY = ("mobilenetv2_035", "mobilenetv3_small_050", "resnet18", "vit_tiny_patch16_224")
TORCHVISION = {"resnet18": "resnet18", "resnet50": "resnet50", "mobilenetv2_100": "mobilenet_v2"}


def ours_of(name: str, theirs: nn.Module, num_classes: int = 1000) -> Model:
    spec = registry.spec(name, num_classes=num_classes)
    state = {key: value.clone() for key, value in theirs.state_dict().items()}
    return from_state(spec, from_timm(spec, state))


@torch.inference_mode()
def assert_same_logits(theirs: nn.Module, ours: nn.Module, x: torch.Tensor) -> None:
    """In our memory format: in another one sums round otherwise, in timm too, and deep random networks show it."""
    found = ours(x)
    expected = copy.deepcopy(theirs).to(memory_format=torch.channels_last)(
        x.contiguous(memory_format=torch.channels_last)
    )
    assert expected.shape == found.shape
    assert expected.std() > 0
    assert (expected - found).abs().max() <= 1e-5 * expected.abs().max()


def test_timm_has_all_but_the_networks_for_small_pictures() -> None:
    classifiers = [name for name in PICTURES if registry.spec(name).task == "image-classification"]
    assert [name for name in classifiers if name not in NAMES] == [
        name for name, target in registry.MODELS.items() if target.endswith(":cifar")
    ]


def odd(name: str) -> torch.Tensor:
    """A picture of another size than usual; timm's ViT takes whole patches alone."""
    return torch.randn(1, 3, *((65, 97) if name in CONVOLUTIONAL else (80, 208)))


@pytest.mark.parametrize("name", by_structure(NAMES))
def test_logits_of_timm_at_odd_sizes(name: str) -> None:
    """Of every name `test_costs_and_weights_are_those_of_timm` says that widths and depths are timm's."""
    sizes = {} if name in CONVOLUTIONAL else {"dynamic_img_size": True}
    theirs, x = randomize(timm.create_model(name, **sizes)), odd(name)
    assert_same_logits(theirs, ours_of(name, theirs), x)
    other = copy.deepcopy(theirs)
    other.reset_classifier(7)
    assert_same_logits(other, ours_of(name, other, 7), x)


@pytest.mark.parametrize("name", ["mobilenetv2_100", "tf_efficientnet_b0"])
def test_logits_of_timm_at_full_size(name: str) -> None:
    theirs = randomize(timm.create_model(name))
    ours = ours_of(name, theirs)
    height, width = ours.spec.input.size
    assert_same_logits(theirs, ours, torch.randn(1, 3, height, width))


@pytest.mark.parametrize("name", NAMES)
def test_costs_and_weights_are_those_of_timm(name: str) -> None:
    spec = registry.spec(name)
    with usual_defaults("meta"):  # where nobody draws weights
        theirs = timm.create_model(name).eval()
        macs = counted_macs(theirs, torch.empty(1, spec.input.channels, *spec.input.size))
    assert kinds.cost(spec) == kinds.Cost(macs, sum(p.numel() for p in theirs.parameters()))
    found, expected = from_timm(spec, theirs.state_dict()), build(spec, device="meta").state_dict()
    assert {key: (tensor.dtype, tensor.shape) for key, tensor in found.items()} == {
        key: (tensor.dtype, tensor.shape) for key, tensor in expected.items()
    }


@pytest.mark.parametrize("name", NAMES)
def test_pictures_are_prepared_as_in_timm(name: str) -> None:
    config = timm.get_pretrained_cfg(name)
    found = registry.spec(name).input
    assert (found.channels, *found.size) == config.input_size
    assert (found.mean, found.std) == (config.mean, config.std)
    assert (found.interpolation, found.crop) == (config.interpolation, config.crop_pct)


def their_names(spec: ModelSpec, theirs: nn.Module) -> dict[str, str]:
    """Our key -> theirs: the key maps hand the very tensors on, or views of them."""
    state = theirs.state_dict()
    keys = {value.data_ptr(): key for key, value in state.items()}
    assert len(keys) == len(state)
    return {ours: keys[value.data_ptr()] for ours, value in from_timm(spec, state).items()}


def test_gradients_are_tested_in_every_family() -> None:
    assert {registry.MODELS[name] for name in DIFFERENTIATED} == {registry.MODELS[name] for name in NAMES}


@pytest.mark.parametrize("name", daily(DIFFERENTIATED, DIFFERENTIATED_DAILY))
def test_gradients_of_timm(name: str) -> None:
    torch.manual_seed(0)
    sizes = {} if name in CONVOLUTIONAL else {"dynamic_img_size": True}
    theirs = randomize(timm.create_model(name, num_classes=7, **sizes))
    ours = ours_of(name, theirs, 7)
    names = their_names(ours.spec, theirs)
    size = (49, 33) if name in CONVOLUTIONAL else (48, 32)
    x, target = torch.randn(4, 3, *size, dtype=torch.float64), torch.tensor([0, 3, 6, 1])
    for model in (theirs, ours):
        model.double().train()
        nn.functional.cross_entropy(model(x), target).backward()
    expected = {key: parameter.grad for key, parameter in theirs.named_parameters()}
    found = {names[key]: parameter.grad for key, parameter in ours.named_parameters()}
    assert found.keys() == expected.keys()
    largest = max(grad.abs().max() for grad in expected.values())
    assert largest > 0
    for key, grad in expected.items():
        assert (grad - found[key].view_as(grad)).abs().max() <= 1e-8 * largest, key
    moved = theirs.state_dict()  # the running statistics moved alike
    for key, value in ours.state_dict().items():
        torch.testing.assert_close(value, moved[names[key]].view_as(value), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("num_classes", [1000, 7])
@pytest.mark.parametrize("name", TORCHVISION)
def test_logits_of_torchvision(name: str, num_classes: int) -> None:
    theirs = randomize(getattr(torchvision.models, TORCHVISION[name])(num_classes=num_classes))
    spec = registry.spec(name, num_classes=num_classes)
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


def test_a_larger_window_is_no_linear_layer() -> None:
    state = timm_state("mobilenetv3_small_050")
    state["conv_head.weight"] = torch.zeros(1024, 288, 3, 3)
    with pytest.raises(FileError, match=r"conv_head.weight is float32 of shape \(1024, 288, 3, 3\), not"):
        from_timm(registry.spec("mobilenetv3_small_050"), state)


@pytest.mark.parametrize("name", ["resnet20", "mobilenetv2_cifar", "efficientnet_cifar"])
def test_networks_that_no_other_library_has(name: str) -> None:
    said = f"No key map from timm for '{name}'; there is one for the ImageNet networks of .*'resnet'"
    with pytest.raises(FileError, match=said):
        from_timm(registry.spec(name), {})


def test_specs_without_a_map():
    spec = registry.spec("mobilenetv2_035")
    with pytest.raises(FileError, match=r"No key map from torchvision for 'mobilenetv1_100'; .* \['mobilenetv2', 'res"):
        from_torchvision(registry.spec("mobilenetv1_100"), {})
    with pytest.raises(FileError, match="No key map from timm for 'mine'"):
        from_timm(spec.replace(name="mine"), {})
    with pytest.raises(FileError, match=r"row 'stem' .* is not: load them into the dense spec"):
        from_timm(spec.edit("stem", precision="int8"), {})


@pytest.mark.parametrize("size", [(64, 96), (66, 49)])
@pytest.mark.parametrize("name", ["tf_efficientnet_b0", "tf_efficientnet_lite0"])
def test_logits_of_timm_where_same_padding_is_uneven(name: str, size: tuple[int, int]) -> None:
    theirs = randomize(timm.create_model(name))
    assert_same_logits(theirs, ours_of(name, theirs), torch.randn(1, 3, *size))
