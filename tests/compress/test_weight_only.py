"""Decoders whose weights alone are integers: the product of this processor, the plain one, and the passes."""

from __future__ import annotations

import pytest
import torch

import zoo
from networks import answer, inputs, small
from zoo.engine.cpu import weight_only
from zoo.engine.execution import reference_execution
from zoo.engine.weight_only import bits
from zoo.engine.weight_only.layer import W4Linear, W8Linear
from zoo.kinds import GROUP
from zoo.weights.matches_name import share_of_zeros

fast_here = pytest.mark.skipif(not weight_only.trusted(), reason="no integer product here")


def linear(kind: type[W8Linear], inputs: int, outputs: int) -> W8Linear:
    layer = kind(inputs, outputs)
    weight = torch.randn(outputs, inputs)
    if kind is W4Linear:
        layer.load_state_dict({**bits.rounded(weight), "bias": torch.randn(outputs)})
    else:
        layer.load_state_dict(
            {
                "weight": torch.randint(-127, 128, weight.shape).to(torch.int8),
                "scale": torch.rand(outputs) + 0.1,
                "bias": torch.randn(outputs),
            }
        )
    return layer


@fast_here
@pytest.mark.parametrize("kind", [W8Linear, W4Linear])
@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("shape", [(1, 1), (2, 5), (1, 300)])
@torch.inference_mode()
def test_products_are_those_of_floats(kind: type[W8Linear], large: bool, shape: tuple[int, int], monkeypatch) -> None:
    """To 16 bits of each token's largest value; 52 inputs fill no group."""
    monkeypatch.setattr(weight_only, "LARGE", 0 if large else 2**20)
    layer = linear(kind, 52, 24)
    x = torch.randn(*shape, 52) * torch.logspace(-6, 6, shape[1])[:, None]
    x[0, 0, 3] = 300.0
    exact = torch.nn.functional.linear(x.double(), layer.dequantized().double(), layer.bias.double())
    unit = x.abs().amax(-1, keepdim=True).double() / weight_only.REACH
    limit = unit * layer.dequantized().abs().sum(1) + 1e-5 * (exact.abs() + layer.bias.abs())
    found = layer(x)
    assert bool(((found - exact).abs() <= limit).all())
    with reference_execution():
        torch.testing.assert_close(layer(x).double(), exact, rtol=1e-4, atol=1e-3 * float(x.abs().max()))
    assert not torch.equal(layer(x), layer._plain(x))  # two executions, not one


@fast_here
@pytest.mark.parametrize("inputs", [100, 4000])
@torch.inference_mode()
def test_the_widest_sums_do_not_overflow(inputs: int) -> None:
    layer = W8Linear(inputs, 4, bias=False)
    layer.weight.fill_(-128)
    torch.testing.assert_close(layer(torch.ones(1, inputs)), torch.full((1, 4), -128.0 * inputs))


def test_what_is_not_finite_stays_so() -> None:
    x = torch.ones(2, 64)
    x[1, 5] = torch.nan
    y = linear(W8Linear, 64, 8)(x)
    assert y[0].isfinite().all() and y[1].isnan().all()


def test_gradients_pass_through() -> None:
    x = torch.randn(2, 64, requires_grad=True)
    linear(W4Linear, 64, 8)(x).sum().backward()
    assert x.grad is not None and bool(x.grad.any())


@fast_here
@torch.no_grad()
def test_a_changed_weight_is_noticed() -> None:
    layer, x = linear(W4Linear, 64, 8), torch.randn(1, 64)
    before = layer(x)
    layer.scale.mul_(2.0)
    torch.testing.assert_close(layer(x) - layer.bias, 2 * (before - layer.bias))


def test_four_bits_lose_little() -> None:
    """As little as 15 values between the least and the largest of each group, with float scales, do."""
    torch.manual_seed(0)
    weight = torch.randn(32, 256)
    found = bits.rounded(weight)
    codes = bits.codes(found["weight"], found["step"], found["shift"], 256)
    groups = weight.view(32, -1, GROUP)
    low, high = groups.amin(-1, keepdim=True), groups.amax(-1, keepdim=True)
    usual = (((groups - low) / (high - low) * 15).round() * (high - low) / 15 + low).view(32, 256)
    assert (codes * found["scale"][:, None] - weight).norm() < 1.02 * (usual - weight).norm()
    assert codes.abs().max() <= bits.WIDEST


@pytest.mark.parametrize("shape", [(3, 5), (4, 33), (2, 64)])
@pytest.mark.parametrize("value", [0.0, 1e-30, -3.0, 1e30])
def test_weights_all_alike_come_back(shape: tuple[int, int], value: float) -> None:
    found = bits.rounded(torch.full(shape, value))
    back = bits.codes(found["weight"], found["step"], found["shift"], shape[1]) * found["scale"][:, None]
    torch.testing.assert_close(back, torch.full(shape, value), rtol=0.02, atol=1e-29)


def test_zeros_stay_zeros() -> None:
    sparse = zoo.compress(small("gpt2"), "sparse", sparsity=0.6)
    assert share_of_zeros(zoo.compress(sparse, "w4")) >= share_of_zeros(sparse) > 0.5
    assert share_of_zeros(zoo.compress(sparse, "w8")) >= share_of_zeros(sparse)


@pytest.mark.parametrize(("passes", "most"), [("w8", 0.02), ("w4", 0.15)])
@torch.inference_mode()
def test_a_decoder_stays_near_the_dense_one(passes: str, most: float) -> None:
    model = small("gpt2")
    made = zoo.compress(model, passes)
    x = inputs(model)
    expected = answer(model, x)
    assert float((answer(made, x) - expected).norm() / expected.norm()) < most
    prompt = torch.tensor([[1, 2, 3]])
    new = made.generate(prompt, max_new_tokens=6)
    with reference_execution():
        assert torch.equal(made.generate(prompt, max_new_tokens=6), new)
    assert {row.precision for row in made.spec} == {passes, "float32"}


def test_what_cannot_be_is_refused() -> None:
    gpt, vit = small("gpt2"), small("vit_tiny_patch16_224")
    with pytest.raises(ValueError, match="w4 is for decoders"):
        zoo.compress(vit, "w4")
    with pytest.raises(ValueError, match="'w8' and 'w4' both say how weights are held"):
        zoo.compress(gpt, "w8-w4")
    with pytest.raises(ValueError, match="'int8' and 'w8' both say"):
        zoo.parse_name("gpt2-int8-w8")
    with pytest.raises(ValueError, match="w8 already"):
        zoo.compress(zoo.compress(gpt, "w8"), "w4")
    with pytest.raises(ValueError, match="keep_float= is an option of the pass 'int8'"):
        zoo.compress(gpt, "w8", keep_float=("h0",))


def test_bench_tells_tokens_a_second(tmp_path) -> None:
    dense = small("gpt2")
    for name, model in (("dense", dense), ("w8", zoo.compress(dense, "w8"))):
        zoo.save(model, tmp_path / name)
    names = [str(tmp_path / name) for name in ("dense", "w8")]
    found = zoo.bench(names, runtimes=["eager"], batches=[1], seconds=0.0, memory=False)
    floats, integers = found.generated
    assert (
        [one.name for one in found.generated] == names and "tokens" in repr(found) and "tokens" in found._repr_html_()
    )
    looked_up = dense.embed.positions.weight.nbytes
    assert floats.read == sum(one.nbytes for one in dense.state_dict().values()) - looked_up
    assert floats.read / 4 < integers.read < floats.read / 3 or not weight_only.trusted()
    for one in found.generated:
        assert one.share == pytest.approx(one.read * one.tokens / one.bandwidth)
    assert not zoo.bench(names[:1], runtimes=["eager"], batches=[2], seconds=0.0, memory=False).generated
