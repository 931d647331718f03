"""`hubconf.py`: every name from a checkout, by torch.hub."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import zoo
from zoo import registry
from zoo.catalog import listing

ROOT = Path(__file__).resolve().parents[1]
REPO = "zoo/zoo:main"


@pytest.fixture
def cached(tmp_path: Path) -> Iterator[str]:
    """The checkout as torch.hub would have fetched it: its `list` and `help` take no folder."""
    before = torch.hub.get_dir()
    (tmp_path / REPO.replace("/", "_").replace(":", "_")).symlink_to(ROOT)
    torch.hub.set_dir(tmp_path)
    yield REPO
    torch.hub.set_dir(before)


def spelled(name: str) -> str:
    return name.replace(".", "_").replace("-", "_")


def test_every_name_is_listed_and_explained(cached: str) -> None:
    found = torch.hub.list(cached, trust_repo=True, skip_validation=True, verbose=False)
    shipped = zoo.list_models(shipped=True)
    names = {*shipped, *registry.MODELS, *(alias for name in shipped for alias in listing.aliases(name))}
    assert set(found) == {spelled(name) for name in names}
    assert {"mobilenet", "mobilenet_pruned_int8", "tf_efficientnet_lite0_in1k_int8", "resnet50"} <= set(found)
    said = torch.hub.help(cached, "mobilenet_int8", trust_repo=True, skip_validation=True)
    assert zoo.info("mobilenet-int8").purpose in said and "zoo.create('mobilenet-int8')" in said


def test_what_ships_comes_with_its_weights() -> None:
    found, expected = torch.hub.load(ROOT, "mobilenet_int8", source="local"), zoo.create("mobilenet-int8")
    x = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        assert torch.equal(found(x), expected(x))
    assert found.labels == expected.labels
    dense = torch.hub.load(ROOT, "mobilenetv2_cifar", source="local")
    assert dense.made == zoo.create("mobilenet").made != {}


def test_an_architecture_is_fresh_and_takes_the_keywords_of_create() -> None:
    model = torch.hub.load(ROOT, "resnet18", source="local", num_classes=5)
    assert model.spec == registry.spec("resnet18", num_classes=5)
    trunk = torch.hub.load(ROOT, "efficientnet", source="local", features_only=True)
    assert trunk.feature_info.reduction() == zoo.create("efficientnet", features_only=True).feature_info.reduction()


def test_an_unknown_name() -> None:
    with pytest.raises(RuntimeError, match="Cannot find callable mobilnet in hubconf"):
        torch.hub.load(ROOT, "mobilnet", source="local")
