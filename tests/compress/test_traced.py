"""`torch.jit.trace` sees the plain execution of every network of pictures."""

from __future__ import annotations

import pytest
import torch

import zoo
from networks import gated, pictures, small
from zoo.engine import reference_execution
from zoo.passes.compress import compress


@pytest.mark.parametrize("form", ["dense", "fused", "int8", "dynamic"])
@pytest.mark.parametrize("name", ["resnet20", "gated", "vit_tiny_patch16_224"])
@pytest.mark.parametrize("used", [False, True])
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
def test_what_is_traced_is_the_reference(name: str, form: str, used: bool) -> None:
    """`torch.jit.trace`, of a network that was used before or not; batches of another size go through."""
    if form == ("fused" if name.startswith("vit") else "dynamic"):
        pytest.skip("no such form")
    model = gated("hard_swish") if name == "gated" else small(name)
    x, more = pictures(model, 2), pictures(model, 3)
    if form == "fused":
        model = zoo.fuse(model)
    elif form != "dense":
        model = compress(model, "int8", **({"dynamic": True} if form == "dynamic" else {"calibration": x}))
    with torch.no_grad():
        if used:
            model(x)
        traced = torch.jit.trace(model, x)
        found = traced(more)
        assert "onednn" not in str(traced.inlined_graph)
        with reference_execution():
            torch.testing.assert_close(found, model(more), rtol=1e-5, atol=1e-5)


def test_a_text_network_cannot_be_traced() -> None:
    model = small("bert_base_uncased")
    with pytest.raises(ValueError, match=r"zoo\.export"):
        torch.jit.trace(model, torch.ones(1, 4, dtype=torch.long))
