"""int8 whose weights are chosen on calibration inputs: by GPTQ, and never worse than the nearest codes."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import zoo
from networks import (
    EACH_CONVOLUTIONAL,
    EACH_TRANSFORMER,
    answer,
    calibration_of,
    gated,
    inputs,
    mixed,
    pictures,
    small,
    tiny,
)
from zoo import kinds
from zoo.model.build import Model
from zoo.passes.bias import input_means
from zoo.passes.compress import compress
from zoo.passes.data import as_calibration
from zoo.passes.gptq import gptq, learned_codes
from zoo.passes.places import places
from zoo.passes.qat import prepare_qat
from zoo.passes.quantize import Rounding
from zoo.passes.ranges import observe
from zoo.passes.sensitivity import quantized

CHEAP = ("mobilenetv1_100", "resnet20", "vit_tiny_patch16_224", "all_minilm_l6_v2", "gpt2")  # others nightly
WIDEST = 7  # few codes: what rounding costs is then most of what int8 costs


def layer(outputs: int, width: int, seed: int, systems: int = 1) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Weights (G, O, C), their scales and the curvature of inputs that go together."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(systems, 200, width, generator=generator) @ torch.randn(systems, width, width, generator=generator)
    weight = torch.randn(systems, outputs, width, generator=generator).double()
    curvature = (x.mT @ x).double() / 200 + 0.1 * torch.eye(width, dtype=torch.float64)
    return weight, weight.abs().amax(-1, keepdim=True) / WIDEST, curvature


def cost(away: torch.Tensor, hessian: torch.Tensor) -> torch.Tensor:
    return ((away @ hessian) * away).sum(-1)


def by_the_paper(weight: torch.Tensor, scale: torch.Tensor, hessian: torch.Tensor) -> torch.Tensor:
    """Codes of one system (O, C) as Frantar et al. write it: errors times rows of the inverse's Cholesky factor."""
    order = hessian.diagonal().argsort(descending=True)
    factor = torch.linalg.cholesky(torch.linalg.inv(hessian[order][:, order]), upper=True)
    left, codes = weight[:, order].clone(), torch.zeros_like(weight)
    for at, column in enumerate(order):
        code = (left[:, at, None] / scale).round().clamp(-WIDEST, WIDEST)[:, 0]
        largest = weight[:, column].abs() == weight.abs().amax(1)
        near = (weight[:, column, None] / scale).round()[:, 0]
        code = torch.where(largest | (near.abs() == WIDEST), near, code)
        codes[:, column] = code
        error = (left[:, at] - code * scale[:, 0]) / factor[at, at]
        left[:, at:] -= error[:, None] * factor[at, at:]
    return codes


@pytest.mark.parametrize(("outputs", "width"), [(5, 9), (3, 70), (2, 200)])
def test_codes_are_those_of_the_paper(outputs: int, width: int) -> None:
    """Across blocks too; an output of which they cost more than the nearest codes has the nearest."""
    weight, scale, hessian = layer(outputs, width, seed=width, systems=2)
    found = gptq(weight, scale, hessian, WIDEST)
    nearest = (weight / scale).round()
    for one in range(2):
        paper = by_the_paper(weight[one], scale[one], hessian[one])
        gains = cost(weight[one] - paper * scale[one], hessian[one]) < cost(
            weight[one] - nearest[one] * scale[one], hessian[one]
        )
        assert gains.any()
        assert torch.equal(found[one], torch.where(gains[:, None], paper, nearest[one]))


@settings(max_examples=25)
@given(st.integers(0, 10_000))
def test_on_few_weights_they_lie_between_the_nearest_codes_and_the_best_there_are(seed: int) -> None:
    weight, scale, hessian = layer(1, 5, seed)
    codes = gptq(weight, scale, hessian, WIDEST)
    low = (weight / scale).floor()[0, 0]
    every = torch.tensor(list(product((-1.0, 0.0, 1.0, 2.0), repeat=5)), dtype=torch.float64) + low
    every = every[(every.abs() <= WIDEST).all(1)]
    best = cost(weight[0] - every * scale[0], hessian[0]).min()
    found, nearest = (float(cost(weight - one * scale, hessian)) for one in (codes, (weight / scale).round()))
    assert float(best) <= found * (1 + 1e-9) and found <= nearest
    assert codes.abs().max() == WIDEST


def test_they_cost_much_less_where_inputs_go_together() -> None:
    weight, scale, hessian = layer(32, 64, seed=0)
    found, nearest = (
        cost(weight - one * scale, hessian).sum()
        for one in (gptq(weight, scale, hessian, WIDEST), (weight / scale).round())
    )
    assert found < 0.5 * nearest


@pytest.mark.parametrize("curvature", [0.0, 1.0])
def test_a_system_that_is_singular_has_codes(curvature: float) -> None:
    weight, scale, _ = layer(4, 12, seed=0)
    codes = gptq(weight, scale, torch.full((1, 12, 12), curvature, dtype=torch.float64), WIDEST)
    assert codes.isfinite().all() and codes.abs().amax() == WIDEST
    if not curvature:
        assert torch.equal(codes, (weight / scale).round())


def codes_of(model: Model) -> dict[str, torch.Tensor]:
    return {key: value for key, value in model.state_dict().items() if value.dtype == torch.int8}


@pytest.mark.parametrize(
    "name",
    [
        name if name in CHEAP else pytest.param(name, marks=pytest.mark.nightly)
        for name in (*EACH_CONVOLUTIONAL, *EACH_TRANSFORMER)
    ],
)
def test_all_but_codes_and_biases_is_as_usual(name: str) -> None:
    torch.manual_seed(0)
    model = small(name)
    given = calibration_of(model)
    made, usual = (compress(model, "int8", calibration=given, rounding=how) for how in ("gptq", "nearest"))
    assert made.spec == usual.spec
    for key, value in made.state_dict().items():
        other = usual.state_dict()[key]
        assert (value.dtype, value.shape) == (other.dtype, other.shape)
        if value.dtype == torch.int8:
            assert int((value.int() - other.int()).abs().max()) < 16 and int(value.abs().max()) == 127
        elif not key.endswith("bias"):
            assert torch.equal(value, other), key
    layers = {f"{row.name}.{place.layer.int8_path}weight": place for row in model.spec for place in places(row)}
    there = layers.keys() & codes_of(made).keys()
    changed = {key for key, value in codes_of(made).items() if not torch.equal(value, usual.state_dict()[key])}
    assert changed <= there and len(changed) > len(there) / 2  # of inputs that do not go together the nearest are best
    recipe = {**usual.made["passes"][-1], "rounding": "gptq"}
    assert made.made["passes"][-1] == recipe


@pytest.mark.parametrize("name", ["resnet20", "vit_tiny_patch16_224", "gpt2"])
def test_answers_are_nearer_to_the_float_ones(name: str) -> None:
    torch.manual_seed(0)
    model = small(name)
    batches = as_calibration(calibration_of(model), "", model.spec)
    rows = [row for row in model.spec if "int8" in kinds.KINDS[row.kind].precisions]
    names = [row.name for row in rows]
    observed, means = observe(model, rows, batches, "mse"), input_means(model, rows, batches)
    codes = learned_codes(model, names, batches, WIDEST, corrected=True)
    assert all(int(one.abs().max()) == WIDEST for one in codes.values())
    fresh = inputs(model, 16)
    with torch.inference_mode():
        dense = answer(model, fresh)
        learned, nearest = (
            float((answer(quantized(model, names, observed, rounding), fresh) - dense).norm())
            for rounding in (Rounding(means, WIDEST, codes), Rounding(means, WIDEST))
        )
    assert learned < 0.93 * nearest


def test_zeros_stay_and_weights_of_seven_bits_are_narrow() -> None:
    sparse = compress(tiny(), "sparse", sparsity=0.5)
    made = compress(sparse, "int8", calibration=pictures(sparse), rounding="gptq", reduce_range=True)
    floats = {f"{row.name}.{place.layer.int8_path}weight": place.key for row in sparse.spec for place in places(row)}
    assert floats.keys() == codes_of(made).keys()
    for key, codes in codes_of(made).items():
        gone = sparse.state_dict()[floats[key]] == 0
        assert gone.any() and not codes[gone].any()
        assert int(codes.abs().max()) == 63


def test_made_again_saved_and_in_another_layout_it_is_the_same(tmp_path) -> None:
    model = mixed()
    x = pictures(model)
    made = compress(model, "int8", calibration=x, rounding="gptq", keep_float=("stem",))
    assert "stem.conv.conv.weight" not in codes_of(made) and made.spec["stem"].precision == "float32"
    again = compress(model, "int8", calibration=x, rounding="gptq", keep_float=("stem",))
    other = compress(
        model.to(memory_format=torch.channels_last), "int8", calibration=x, rounding="gptq", keep_float=("stem",)
    )
    zoo.save(made, tmp_path / "made")
    saved = zoo.load(tmp_path / "made")
    assert saved.made == made.made and "rounding=gptq" in zoo.info(tmp_path / "made").recipe
    for key, value in made.state_dict().items():
        assert torch.equal(again.state_dict()[key], value) and torch.equal(saved.state_dict()[key], value)
    for key, value in codes_of(made).items():
        assert (other.state_dict()[key] != value).float().mean() < 0.01, key


def test_training_goes_on_from_the_codes() -> None:
    """The largest weight of each output keeps its code, so the scales of fake quantization are those of the codes."""
    model = gated("relu6")
    made = compress(model, "int8", calibration=pictures(model), rounding="gptq")
    back = compress(prepare_qat(made), "int8")
    assert all(torch.equal(back.state_dict()[key], codes) for key, codes in codes_of(made).items())


@pytest.mark.parametrize("name", ["all_minilm_l6_v2", "vit_tiny_patch16_224"])
def test_dynamic_int8_takes_calibration_for_its_weights_alone(name: str) -> None:
    model = small(name)
    given = calibration_of(model)
    made = compress(model, "int8", dynamic=True, rounding="gptq", calibration=given)
    usual = compress(model, "int8", dynamic=True)
    assert made.spec == usual.spec
    told = {**usual.made["passes"][-1], "rounding": "gptq", "examples": 16}
    assert made.made["passes"][-1] == told
    changed = [key for key, value in made.state_dict().items() if not torch.equal(value, usual.state_dict()[key])]
    assert len(changed) > 4 and set(changed) <= set(codes_of(made))
    x = inputs(model)
    with torch.inference_mode():
        assert float((answer(made, x) - answer(model, x)).norm() / answer(model, x).norm()) < 0.2


def test_rows_are_chosen_by_the_network_that_they_are_chosen_for() -> None:
    model = tiny()
    x = pictures(model, 32)
    labels = model(x).argmax(1)
    made = compress(model, "int8", calibration=x, rounding="gptq", max_drop=100.0, labelled=(x, labels))
    with torch.inference_mode():
        drop = 100 * float((made(x).argmax(1) != labels).float().mean())
    assert made.made["passes"][-1]["chosen_by"]["drop"] == pytest.approx(drop, abs=1e-3)


def test_without_inputs_or_where_weights_are_settled_it_is_refused_by_name() -> None:
    for model, options in (
        (tiny(), {}),
        (small("all_minilm_l6_v2"), {}),
        (small("vit_tiny_patch16_224"), {"dynamic": True}),
    ):
        with pytest.raises(ValueError, match="needs calibration="):
            compress(model, "int8", rounding="gptq", **options)
    with pytest.raises(ValueError, match="rounding= takes one of 'nearest', 'gptq', not 'adaround'"):
        compress(tiny(), "int8", rounding="adaround")
    for how in ("gptq", "nearest"):
        with pytest.raises(ValueError, match=r"rounding: .*settled"):
            compress(prepare_qat(tiny(), torch.randn(4, 3, 32, 32)), "int8", rounding=how)
