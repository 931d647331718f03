"""`torch.jit.trace` sees the plain execution of every network of pictures."""

from __future__ import annotations

import pytest
import torch

import zoo
from daily import daily
from networks import gated, pictures, small
from zoo.engine import reference_execution
from zoo.passes.compress import compress

FORMS = {
    "resnet20": ("dense", "fused", "int8"),
    "gated": ("dense", "fused", "int8"),
    "vit_tiny_patch16_224": ("dense", "int8", "dynamic"),
}
CASES = [(name, form, used) for name, forms in FORMS.items() for form in forms for used in (False, True)]
OFTEN = [case for case in CASES if case[0] == "gated" or case[1:] in (("int8", True), ("dynamic", False))]


@pytest.mark.parametrize(("name", "form", "used"), daily(CASES, OFTEN))
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
def test_what_is_traced_is_the_reference(name: str, form: str, used: bool) -> None:
    """`torch.jit.trace`, of a network that was used before or not; batches of another size go through."""
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
