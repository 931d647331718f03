"""Few vectors and integer weights by `torch._int_mm`: the same numbers as the reference, and no stale weights."""

from __future__ import annotations

import pytest
import torch

from zoo.blocks import settled
from zoo.blocks.settled import Settled
from zoo.engine.arithmetic import QParams
from zoo.engine.cpu import few_tokens
from zoo.engine.cpu.few_tokens import LEAST, MOST, SMALL, Few
from zoo.engine.execution import executing, reference_execution
from zoo.engine.int8.tokens import TokenLinear
from zoo.engine.reference import REFERENCE

quick = pytest.mark.skipif(not few_tokens.trusted(), reason="needs a processor with VNNI")


def leaf(inputs: int, outputs: int, activation: str = "none") -> TokenLinear:
    layer = TokenLinear(inputs, outputs, activation=activation)
    layer.weight.copy_(torch.randint(-127, 128, (outputs, inputs)))
    layer.weight[0] = 127
    layer.scale.copy_(torch.rand(outputs) / 100 + 1e-3)
    layer.bias.copy_(torch.randn(outputs))
    return layer


@quick
@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("inputs", [LEAST - 1, LEAST, 72])
@pytest.mark.parametrize("source", [None, QParams(0.05, 128), QParams(0.02, 3)])
def test_as_the_reference(count: int, inputs: int, source: QParams | None) -> None:
    layer, x = leaf(inputs, 40, "relu"), torch.randn(count, inputs)
    x[0, 0] = 9.0  # beyond the edge
    with reference_execution():
        expected = layer.product(x, source)
    for given in [x] if source is None else [x, REFERENCE.quantize(x, source)]:
        assert torch.allclose(layer.product(given, source), expected, rtol=1e-5, atol=1e-4)
    if source is not None:
        target = QParams(float(expected.max()) / 200, 0)
        off = layer.product(x, source, target).int() - REFERENCE.quantize(expected, target).int()
        assert int(off.abs().max()) <= 1


def test_which_are_few() -> None:
    def few(inputs: int, outputs: int) -> int:
        codes, ones = torch.zeros(outputs, inputs, dtype=torch.int8), torch.ones(outputs)
        return Few(codes, ones, ones, QParams(1.0, 128)).most

    assert few(512, SMALL // 512) == MOST // SMALL
    assert few(512, SMALL // 512 + 1) == 1
    assert few(LEAST - 1, 4) == 0


def test_settled_networks_look_once_a_step() -> None:
    model = leaf(72, 40)
    x, steps = torch.randn(1, 72), Settled(model)
    with steps:
        assert settled.state.get() == settled.OPEN
        before = model.product(x, None)
    assert settled.state.get() == settled.CLOSED
    model.weight.neg_()  # in place, between two steps
    with steps:
        after = model.product(x, None)
    assert torch.allclose(after - model.bias, model.bias - before, atol=1e-4)
    model.scale = model.scale * 2
    with steps:
        assert torch.allclose(model.product(x, None) - model.bias, 2 * (after - model.bias), atol=1e-4)


def test_other_executions_are_asked_every_time() -> None:
    model = leaf(72, 40)
    x = torch.randn(1, 72)
    model.product(x, None)
    asked = []

    class Asked(type(REFERENCE)):  # type: ignore[misc]
        def tokens(self, *given: object) -> torch.Tensor:
            asked.append(1)
            return super().tokens(*given)

    with executing(Asked()), Settled(model):
        model.product(x, None)
    with Settled(model), executing(Asked()):
        model.product(x, None)
    assert len(asked) == 2
