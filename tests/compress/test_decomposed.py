"""The second rounding that XNNPACK needs: its range leaves out only what makes no difference behind it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.engine.arithmetic import QParams, activate, dequantize, quantize
from zoo.runtime.numerics.unrounded import activation_input_qparams, summand_qparams

EDGES = st.builds(QParams, st.floats(1e-3, 0.3), st.integers(0, 255))
WIDE = torch.linspace(-200.0, 200.0, 8001)


def far(one: torch.Tensor, other: torch.Tensor) -> int:
    """In codes; the ends of a range are codes of its own, up to half of one away from where they should be."""
    return int((one.int() - other.int()).abs().max())


@pytest.mark.parametrize("activation", ["hard_swish", "swish", "gelu", "gelu_tanh"])
@settings(max_examples=50, deadline=None)
@given(target=st.builds(QParams, st.floats(1e-3, 0.3), st.integers(0, 128)))
def test_before_an_activation(activation: str, target: QParams) -> None:
    qparams = activation_input_qparams(activation, target)
    whole, inside = (quantize(activate(y, activation), target) for y in (WIDE, WIDE.clamp(*qparams.ends)))
    assert far(whole, inside) <= 1 + qparams.scale / target.scale


@pytest.mark.parametrize("after", ["none", "relu", "relu6"])
@settings(max_examples=50, deadline=None)
@given(target=EDGES, skip_qparams=EDGES, code=st.integers(0, 255))
def test_before_a_sum(after: str, target: QParams, skip_qparams: QParams, code: int) -> None:
    skip = dequantize(torch.tensor([code], dtype=torch.uint8), skip_qparams)
    qparams = summand_qparams(skip_qparams, after, target)
    whole, inside = (quantize(activate(y + skip, after), target) for y in (WIDE, WIDE.clamp(*qparams.ends)))
    assert far(whole, inside) <= 1 + qparams.scale / target.scale
