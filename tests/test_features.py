"""`features_only`: timm's levels on the same weights, of dense and compressed networks."""

from __future__ import annotations

import copy
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import timm
import torch

import toy_shipped
import zoo
from daily import daily
from networks import CONVOLUTIONAL, EACH_CONVOLUTIONAL, KINDS_OF_CONVOLUTIONAL, gated, pictures, randomize, small
from zoo import kinds, registry
from zoo.engine import reference_execution
from zoo.factory import with_classes
from zoo.model.build import Model, build, from_state
from zoo.model.features import Features
from zoo.passes.compress import compress
from zoo.spec import Block, ModelSpec
from zoo.weights.keys import from_timm

DENSE = toy_shipped.DENSE
THEIRS = [name for name in CONVOLUTIONAL if timm.is_model(name)]
IN_INT8 = ("mobilenetv2_035", "mobilenetv3_large_075", "resnet20", "tf_efficientnet_b0")
VARIANTS = [
    *((arch, "dense") for arch in EACH_CONVOLUTIONAL),
    *daily(product(EACH_CONVOLUTIONAL, ["int8"]), [(arch, "int8") for arch in IN_INT8]),
    *(("mobilenetv2_cifar", passes) for passes in ("pruned", "sparse", "pruned-sparse-int8")),
]
X = torch.randn(2, 3, 33, 47, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch) -> Path:
    return toy_shipped.use(monkeypatch)


@cache
@torch.inference_mode(False)
def variant(arch: str, passes: str) -> Model:
    """A registered architecture at reduced width, compressed."""
    with torch.random.fork_rng(devices=[]):  # so that who asks first does not change what others draw
        torch.manual_seed(0)
        model = small(arch)
        if passes == "dense":
            return model
        for each in passes.split("-"):
            model = compress(model, each, calibration=pictures(model, 32) if each == "int8" else None)
        return model


@pytest.mark.parametrize("name", daily(THEIRS, [name for name in KINDS_OF_CONVOLUTIONAL if name in THEIRS]))
@torch.inference_mode()
def test_the_maps_of_timm(name: str) -> None:
    whole = randomize(timm.create_model(name))
    theirs = timm.create_model(name, features_only=True).eval()
    assert not theirs.load_state_dict(whole.state_dict(), strict=False).missing_keys
    spec = registry.spec(name)
    ours = Features(from_state(spec, from_timm(spec, whole.state_dict())))
    assert ours.feature_info.channels() == theirs.feature_info.channels()
    assert ours.feature_info.reduction() == theirs.feature_info.reduction()
    x = torch.randn(1, 3, 65, 97)
    for found, expected in zip(ours(x), theirs(x), strict=True):
        assert found.shape == expected.shape
        assert expected.std() > 0
        assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


@pytest.mark.parametrize("name", ["mobilenetv2_035", "mobilenetv3_small_050", "resnet18", "tf_efficientnet_lite0"])
@torch.inference_mode()
def test_the_pooled_features_of_timm(name: str) -> None:
    theirs, spec = randomize(timm.create_model(name)), registry.spec(name)
    ours = with_classes(from_state(spec, from_timm(spec, theirs.state_dict())), 0)
    theirs.reset_classifier(0)
    x = torch.randn(2, 3, 65, 97)
    found, expected = ours(x), theirs(x)
    assert found.shape == expected.shape and expected.std() > 0
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


@pytest.mark.parametrize("out_indices", [2, (0,), (1, 3), (-2,), (-3, 4), (1, -1)])
@torch.inference_mode()
def test_indices_of_timm(out_indices: Any) -> None:
    theirs = timm.create_model("mobilenetv2_035", features_only=True, out_indices=out_indices).eval()
    ours = zoo.create("mobilenetv2_035", weights=None, features_only=True, out_indices=out_indices)
    x = torch.randn(1, 3, 33, 65)
    assert [m.shape for m in ours(x)] == [m.shape for m in theirs(x)]
    for ours_say, theirs_say in zip(readings(ours.feature_info), readings(theirs.feature_info), strict=True):
        assert ours_say == theirs_say


def readings(info: Any) -> list[Any]:
    return [read(i) for read in (info.channels, info.reduction) for i in (None, 0, -1, [1, 2])]


@pytest.mark.parametrize(("arch", "passes"), VARIANTS)
@torch.inference_mode()
def test_levels_are_what_the_rows_of_the_whole_put_out(arch: str, passes: str) -> None:
    whole = variant(arch, passes)
    features = Features(whole)
    info, maps = features.feature_info, features(X)
    _, rows = whole(X, taps=info.module_name())
    assert len(maps) >= 3 and sorted(set(info.reduction())) == info.reduction()
    for found, name, channels, reduction in zip(
        maps, info.module_name(), info.channels(), info.reduction(), strict=True
    ):
        assert torch.equal(found, rows[name])
        assert found.dtype == torch.float32
        assert found.shape == (2, channels, -(-33 // reduction), -(-47 // reduction))


@pytest.mark.parametrize("passes", ["dense", "pruned", "sparse", "int8"])
def test_the_state_is_a_slice_of_the_whole(passes: str) -> None:
    whole = variant("mobilenetv2_cifar", passes)
    features = Features(whole, (1,))
    rows, last = [row.name for row in whole.spec], features.feature_info.module_name()[0]
    assert [row.name for row in features.spec] == rows[: rows.index(last) + 1]
    assert features.spec.rows[:-1] == whole.spec.rows[: len(features.spec.rows) - 1]
    kinds.check(features.spec)
    state = whole.state_dict()
    kept = [key for key in state if key.partition(".")[0] in [row.name for row in features.spec]]
    assert list(features.state_dict()) == kept
    assert all(value.data_ptr() == state[key].data_ptr() for key, value in features.state_dict().items())


@pytest.mark.parametrize(("subject", "least"), [("mobilenetv2_cifar", 0.98), ("resnet20", 0.995), ("gated", 0.998)])
def test_int8_maps_are_near_the_dense_ones(subject: str, least: float) -> None:
    dense = gated("swish") if subject == "gated" else small(subject)
    x = pictures(dense, 16)
    int8 = compress(dense, "int8", calibration=x)
    with torch.inference_mode():
        for found, expected in zip(Features(int8)(x), Features(dense)(x), strict=True):
            assert found.shape == expected.shape
            assert not torch.equal(found, expected)
            assert torch.corrcoef(torch.stack([found.flatten(), expected.flatten()]))[0, 1] > least


def test_the_reference_gives_the_same_maps() -> None:
    features = Features(variant("mobilenetv2_cifar", "int8"))
    with torch.inference_mode():
        fast = features(X)
        with reference_execution():
            slow = features(X)
    for one, other in zip(fast, slow, strict=True):
        assert torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1] > 0.999


@pytest.mark.parametrize("passes", ["dense", "distilled", "pruned", "sparse", "int8", "pruned-int8"])
def test_by_name(toys: Path, passes: str) -> None:
    whole = zoo.create(f"mobilenet-{passes}")
    features = zoo.create(f"mobilenet-{passes}", features_only=True, out_indices=(1, 2))
    assert isinstance(features, Features) and not features.training and features.spec.input == whole.spec.input
    assert features.feature_info.reduction() == [4, 8]
    maps, (_, rows) = features(X), whole(X, taps=features.feature_info.module_name())
    assert [m.dtype for m in maps] == [torch.float32, torch.float32]
    assert all(torch.equal(a, b) for a, b in zip(maps, rows.values(), strict=True))
    file = toys / "shipped" / f"{DENSE if passes == 'dense' else f'{DENSE}-{passes}'}.safetensors"
    options = {"features_only": True, "out_indices": 2, "num_classes": 3}  # there is no classifier to change
    again = zoo.create(f"mobilenetv2_cifar-{passes}", weights=file, **options)
    assert all(torch.equal(a, b) for a, b in zip(maps, again(X), strict=True))


def test_maps_come_in_the_order_asked_for() -> None:
    whole = variant("resnet20", "dense")
    up, down = Features(whole, (0, 2)), Features(whole, (-1, 0))
    assert down.feature_info.channels() == up.feature_info.channels()[::-1]
    assert down.feature_info.out_indices == (2, 0)
    assert all(torch.equal(a, b) for a, b in zip(up(X), reversed(down(X)), strict=True))


def test_the_stem_of_a_resnet_is_a_level_and_its_max_pool_none() -> None:
    found = kinds.levels(registry.spec("resnet18"))
    assert [(level.row, level.channels, level.reduction) for level in found] == [
        ("stem", 64, 2),
        ("s1_2", 64, 4),
        ("s2_2", 128, 8),
        ("s3_2", 256, 16),
        ("s4_2", 512, 32),
    ]


def test_pictures_that_shrink_by_three_and_a_trunk_without_a_head() -> None:
    rows = (
        Block("conv_norm_act", "a", in_channels=3, out_channels=8, stride=3),
        Block("max_pool", "b", kernel_size=3, stride=2),
        Block("conv_norm_act", "c", in_channels=8, out_channels=16, kernel_size=1),
    )
    features = Features(build(ModelSpec("thirds", rows)))
    assert features.feature_info.reduction() == [3, 6]
    assert [tuple(m.shape) for m in features(X)] == [(2, 8, 11, 16), (2, 16, 6, 8)]


def test_what_a_backbone_learns_goes_back_into_the_whole() -> None:
    whole = copy.deepcopy(variant("mobilenetv2_cifar", "dense"))
    features = copy.deepcopy(Features(whole)).train()
    before = features.stem.conv.weight.clone()
    optimizer = torch.optim.SGD(features.parameters(), lr=0.1)
    sum(m.square().mean() for m in features(X)).backward()
    optimizer.step()
    assert not torch.equal(features.stem.conv.weight, before)
    assert torch.equal(whole.stem.conv.weight, before)
    assert not whole.load_state_dict(features.state_dict(), strict=False).unexpected_keys
    assert torch.equal(whole.stem.conv.weight, features.stem.conv.weight)


def test_taps_beside_the_levels() -> None:
    features = Features(variant("mobilenetv2_cifar", "int8"), (2,))
    maps, rows = features(X, taps=["stem"])
    assert torch.equal(maps[0], features(X)[0]) and rows["stem"].dtype == torch.float32 and list(rows) == ["stem"]


@pytest.mark.parametrize(
    ("out_indices", "message"),
    [
        ((), r"out_indices is a list of levels, or the number of the last ones, not \(\)"),
        (0, "or the number of the last ones, not 0"),
        (True, "not True"),
        ("0", "not '0'"),
        ((1.0,), r"not \(1\.0,\)"),
        ((0, 3), r"mobilenetv2_cifar has 3 levels, so out_indices go from 0 to 2, .*; \(0, 3\) is out of range"),
        ((-4,), r"\(-4,\) is out of range"),
        (4, "; 4 is out of range"),
        ((1, 1), r"out_indices \(1, 1\) name one of the 3 levels of mobilenetv2_cifar twice"),
        ((0, -3), "twice"),
    ],
)
def test_indices_that_name_no_levels(out_indices: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        zoo.create("mobilenetv2_cifar", weights=None, features_only=True, out_indices=out_indices)


def test_indices_need_features_only() -> None:
    with pytest.raises(ValueError, match=r"out_indices=\(1,\) chooses among features; it needs features_only=True"):
        zoo.create("mobilenetv2_cifar", weights=None, out_indices=(1,))


def test_a_network_without_maps() -> None:
    rows = (Block("global_pool", "pool"), Block("classifier", "classifier", in_features=3, num_classes=2))
    with pytest.raises(ValueError, match="mean has no maps before its pooling"):
        zoo.create(ModelSpec("mean", rows), features_only=True)


def test_features_are_taken_of_what_is_saved_and_compressed_whole(tmp_path: Path) -> None:
    features = Features(variant("mobilenetv2_cifar", "dense"))
    with pytest.raises(zoo.FileError, match=r"not a Features; .* of features the whole network"):
        zoo.save(features, tmp_path / "features")
    with pytest.raises(ValueError, match=r"compress takes a zoo model, not Features; the whole network"):
        compress(features, "sparse")
