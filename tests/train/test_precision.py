"""bfloat16 is the default where it is quicker, which differs by processor and network."""

from __future__ import annotations

import pytest
import torch

import zoo
from zoo.train.precision import uses_bfloat16
from zoo.train.recipe import Recipe


@pytest.mark.parametrize(
    ("capabilities", "convolutions", "linear"),
    [({}, False, False), ({"avx512_bf16"}, True, False), ({"avx512_bf16", "amx_bf16"}, True, True)],
    ids=["none", "avx512", "amx"],
)
def test_the_default_follows_the_processor_and_the_network(
    monkeypatch: pytest.MonkeyPatch, capabilities: set[str], convolutions: bool, linear: bool
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: dict.fromkeys(capabilities, True))
    for name, expected in (("resnet20", convolutions), ("vit_cifar_small", linear), ("bert_tiny", linear)):
        model = zoo.create(name, weights=None)
        assert uses_bfloat16(model, Recipe()) is expected, name
        assert uses_bfloat16(model, Recipe(bfloat16=not expected)) is not expected
