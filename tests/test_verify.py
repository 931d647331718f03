"""An edited module is refused by name, or answers alike, wherever a network is handed on."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn as nn
from torch.nn.utils import parametrizations, parametrize, prune, weight_norm

import zoo
from networks import inputs, lively
from zoo.model.build import Model
from zoo.model.features import Features
from zoo.model.verify import rebuildable
from zoo.passes.sensitivity import sensitivity
from zoo.spec import Block, ImageInput, ModelSpec
from zoo.train.finetune import trainable
from zoo.weights.matches_name import share_of_zeros


def network() -> Model:
    rows = (
        Block("conv_norm_act", "stem", in_channels=3, out_channels=8, stride=2, activation="relu"),
        Block("basic_block", "a", in_channels=8, mid_channels=8, out_channels=8),
        Block("global_pool", "pool"),
        Block("classifier", "classifier", in_features=8, num_classes=4),
    )
    torch.manual_seed(0)
    return lively(ModelSpec("tiny", rows, ImageInput(size=(16, 16))))


def saved(model: Model, folder: Path) -> Any:
    zoo.save(model, folder / "saved")
    return zoo.load(folder / "saved")


X = torch.randn(32, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def zeros(model: Model) -> float:
    """The share of weights that are zero already, by masks too: less cannot be asked for."""
    return share_of_zeros(rebuildable(model, "try"))


# Entry -> what it makes, and how far that may be from the network by its nature.
ENTRIES: dict[str, tuple[Callable[[Model, Path], Any], float]] = {
    "save": (saved, 0.0),
    "fuse": (lambda m, _: zoo.fuse(m), 1e-4),
    "to_runtime": (lambda m, _: zoo.to_runtime(m, "torch"), 1e-4),
    "int8": (lambda m, _: zoo.compress(m, "int8", calibration=X), 0.1),
    "sparse": (lambda m, _: zoo.compress(m, "sparse", sparsity=zeros(m) + 1e-6), 1e-6),
    "edit": (lambda m, _: zoo.edit(m, "classifier", dropout=0.5), 0.0),
    "prepare_qat": (lambda m, _: zoo.prepare_qat(m, X), 0.1),
    "features": (lambda m, _: Features(m), 1e-6),
    "finetune": (lambda m, _: trainable(m)[0], 0.0),
}


def act(model: Model) -> None:
    model.stem.act = nn.SiLU()


def stride(model: Model) -> None:
    model.a.conv1.conv.stride = (2, 2)


def padding(model: Model) -> None:
    model.a.conv1.conv.padding = (0, 0)


def eps(model: Model) -> None:
    model.stem.bn.eps = 0.5


def head(model: Model) -> None:
    model.classifier.fc = nn.Linear(8, 7)


def child(model: Model) -> None:
    model.stem.more = nn.ReLU()


def row(model: Model) -> None:
    model.late = nn.ReLU()


def same_name(model: Model) -> None:
    class ReLU(nn.ReLU):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.sin()

    ReLU.__qualname__ = "ReLU"
    model.stem.act = ReLU()


def hook(model: Model) -> None:
    model.stem.register_forward_hook(lambda module, given, y: 2 * y)


def pre_hook(model: Model) -> None:
    model.a.register_forward_pre_hook(lambda module, given: (given[0] + 1,))


def own_forward(model: Model) -> None:
    model.pool.forward = lambda x: x.amax((2, 3))


def batch_hook(model: Model) -> None:
    model.pool.register_forward_hook(lambda module, given, y: 2 * y if len(y) > 1 else y)


def own_method(model: Model) -> None:
    conv = model.a.conv1.conv
    usual = conv._conv_forward
    conv._conv_forward = lambda *given: 1.5 * usual(*given)


def own_run(model: Model) -> None:
    usual = model._run
    model._run = lambda *given: 2 * usual(*given)


def state_hook(model: Model) -> None:
    key = "a.conv1.conv.weight"
    model._register_state_dict_hook(lambda module, state, *_: state.update({key: 0 * state[key]}))


def random_weight(model: Model) -> None:
    class Noise(nn.Module):
        def forward(self, weight: torch.Tensor) -> torch.Tensor:
            return weight + torch.randn_like(weight)

    parametrize.register_parametrization(model.a.conv1.conv, "weight", Noise())


def tensor(model: Model) -> None:
    model.stem.register_buffer("more", torch.zeros(1))


REFUSED = (act, stride, padding, eps, head, child, row, same_name, hook, pre_hook, own_forward, tensor)
REFUSED += (batch_hook, own_method, own_run, state_hook, random_weight)


def looks(model: Model) -> None:
    model.stem.register_forward_hook(lambda module, given, y: None)


def masked(model: Model) -> None:
    prune.l1_unstructured(model.a.conv1.conv, "weight", 0.5)
    model(X)  # its weight is now no leaf, which cannot be copied


def weight_normed(model: Model) -> None:
    parametrizations.weight_norm(model.a.conv1.conv)


def old_weight_normed(model: Model) -> None:
    with pytest.warns(FutureWarning):
        weight_norm(model.classifier.fc)
    model(X)


def spectral_normed(model: Model) -> None:
    parametrizations.spectral_norm(model.a.conv1.conv)
    model.train()  # in which each read of the weight takes a step


def half_trained(model: Model) -> None:
    model.train()
    model.stem.requires_grad_(False)


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("change", REFUSED, ids=lambda change: change.__name__)
def test_an_edited_module_is_refused_by_its_row(entry: str, change: Callable[[Model], None], tmp_path: Path) -> None:
    model = network()
    change(model)
    with pytest.raises(ValueError, match=r"(Row '(stem|a|classifier|pool|late)' of 'tiny'.*zoo\.edit)"):
        ENTRIES[entry][0](model, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize(
    "change",
    [looks, masked, weight_normed, old_weight_normed, spectral_normed, half_trained],
    ids=lambda change: change.__name__,
)
def test_what_is_no_edit_answers_alike(entry: str, change: Callable[[Model], None], tmp_path: Path) -> None:
    model = network()
    change(model)
    make, tolerance = ENTRIES[entry]
    made = make(model, tmp_path).eval()
    model.eval()
    with torch.no_grad():
        expected = model(X, taps=made.feature_info.module_name())[1] if entry == "features" else model(X)
        found = made(X)
    pairs = zip(found, expected.values(), strict=True) if entry == "features" else [(found, expected)]
    for one, other in pairs:
        assert (one - other).abs().max() <= tolerance * other.abs().max()


@pytest.mark.parametrize("change", [act, hook, masked], ids=lambda change: change.__name__)
@pytest.mark.parametrize("entry", ["export", "sensitivity"])
def test_exports_and_sensitivity_go_by_the_same_check(
    entry: str, change: Callable[[Model], None], tmp_path: Path
) -> None:
    model = network()
    change(model)
    make = {"export": lambda: zoo.export(model, tmp_path / "a.pt2"), "sensitivity": lambda: sensitivity(model, X)}
    if change is masked:
        assert make[entry]()
    else:
        with pytest.raises(ValueError, match="Row 'stem' of 'tiny'"):
            make[entry]()


@pytest.mark.parametrize("passes", ["", "int8"])
def test_a_network_as_it_was_made_is_itself(passes: str) -> None:
    model = network()
    model = zoo.compress(model, passes, calibration=X) if passes else model
    with torch.inference_mode():
        model(*inputs(model))  # what it packs for its first answer is no edit
    assert rebuildable(model, "nothing") is model


WIDENED = {
    "compress": lambda model: zoo.compress(model, "int8", calibration=X),
    "fuse": zoo.fuse,
    "edit": lambda model: zoo.edit(model, "classifier", num_classes=5),
    "prepare_qat": lambda model: zoo.prepare_qat(model, X),
    "to_runtime": lambda model: zoo.to_runtime(model, "torch"),
}


@pytest.mark.parametrize("what", WIDENED)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_float_types_become_float32(what: str, dtype: torch.dtype) -> None:
    model = network()
    with torch.no_grad():
        torch.manual_seed(1)  # of a fresh row
        expected = WIDENED[what](model.float())(X)
        torch.manual_seed(1)
        found = WIDENED[what](model.to(dtype))(X)
    assert found.dtype == torch.float32 and found.shape == expected.shape
    assert (found - expected).abs().max() <= 0.1 * expected.abs().max()


def test_the_zeros_of_masks_are_held() -> None:
    model = network()
    prune.l1_unstructured(model.a.conv1.conv, "weight", 0.5)
    held = zoo.Sparsifier.holding(model)
    mask = held.masks["a.conv1.conv.weight_orig"]
    assert torch.equal(mask, model.a.conv1.conv.weight_mask != 0)
    model = network()
    weight_normed(model)
    with pytest.raises(ValueError, match=r"a\.conv1\.conv is parametrized"):
        zoo.Sparsifier(model)
