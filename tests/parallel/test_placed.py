"""A network on several devices answers as on one."""

from __future__ import annotations

import copy

import pytest
import torch

import zoo
from reduced import reduced
from zoo import registry
from zoo.model.answer import answer
from zoo.model.build import build
from zoo.parallel.placed import place


@pytest.mark.parametrize("name", ["mobilenetv2_050", "lraspp", "vit_cifar", "bert_tiny", "gpt2_tiny", "marian_tiny"])
def test_the_answers_are_those_of_one_device(name: str) -> None:
    """Taps and tied tables cross the cuts. On the meta device, what comes out shows where it was computed."""
    torch.manual_seed(0)
    model = build(reduced(registry.spec(name)))
    x = model.spec.input.example(2)
    with torch.no_grad():
        expected = answer(model, x)
        torch.testing.assert_close(answer(place(copy.deepcopy(model), ["cpu"] * 3), x), expected)
        elsewhere = place(model, ["cpu", "meta"])
        found = answer(elsewhere, x)
    assert found.shape == expected.shape and found.device.type == "meta" and elsewhere.device.type == "cpu"
    held = {name: one.device.type for name, one in elsewhere.named_parameters()}
    assert set(held.values()) == {"cpu", "meta"} and list(held.values()) == sorted(held.values())


def test_create_places_a_network_and_variants_too() -> None:
    x = torch.randn(2, 3, 32, 32)
    for name in ("resnet20", "resnet20-int8"):
        with torch.no_grad():
            torch.testing.assert_close(zoo.create(name, devices=["cpu", "cpu"])(x), zoo.create(name)(x))


def test_a_decoder_continues_texts_on_several_devices() -> None:
    torch.manual_seed(0)
    model = build(reduced(registry.spec("gpt2_tiny")))
    ids = torch.tensor([[5, 6, 7]])
    expected = model.generate(ids, max_new_tokens=5)
    assert torch.equal(place(model, ["cpu", "cpu"]).generate(ids, max_new_tokens=5), expected)


def test_devices_are_checked() -> None:
    for devices in ("cpu", [], 2):
        with pytest.raises(ValueError, match=r"devices= is a list"):
            zoo.create("resnet20", devices=devices)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="'gpu7' cannot be used here"):
        zoo.create("resnet20", devices=["cpu", "gpu7"])
    for option in ({"device": "cpu"}, {"features_only": True}, {"runtime": "onnxruntime"}):
        with pytest.raises(ValueError, match=f"in torch; leave out {next(iter(option))}="):
            zoo.create("resnet20", devices=["cpu"], **option)
    with pytest.raises(ValueError, match="rows, too few for 40 stages"):
        zoo.create("resnet20", devices=["cpu"] * 40)
