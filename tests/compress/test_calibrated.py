"""Pruned by calibration: what the answers lose least leaves, and the rest is solved again. No labels."""

from __future__ import annotations

import pytest
import torch

import zoo
from daily import daily
from networks import answer, gated, inputs, lively, mixed, pictures, small, sums
from reduced import reduced
from zoo import kinds, registry
from zoo.passes import Pruned, prune
from zoo.passes.calibrated import divided
from zoo.passes.compress import compress, convert
from zoo.passes.data import count
from zoo.passes.elimination import Reading, eliminated
from zoo.passes.gram import Gram
from zoo.report.agreement import interval, likeness

NETWORKS = {
    "inverted residuals": lambda: small("mobilenetv2_035"),
    "squeeze-and-excite": lambda: gated("hard_swish", "hard_sigmoid"),
    "bottlenecks": lambda: small("resnet50"),
    "every sum": sums,
    "every kind": mixed,
    "tokens of pictures": lambda: small("vit_tiny_patch16_224"),
    "tokens of texts": lambda: small("all_minilm_l6_v2"),
}


def calibration_of(model: zoo.Model, number: int = 24) -> object:
    given = inputs(model, number)
    return given[0] if len(given) == 1 else {"input_ids": given[0], "attention_mask": given[1]}


def loss(model: zoo.Model, made: zoo.Model) -> float:
    """The squared error of the answers to inputs that were not used, as a share of the answers' own variance."""
    torch.manual_seed(7)
    given = inputs(model, 32)
    with torch.inference_mode():
        wanted, got = answer(model, given), answer(made, given)
    return float((wanted - got).square().sum() / (wanted - wanted.mean(0)).square().sum())


@pytest.mark.parametrize("name", daily(NETWORKS, [name for name in NETWORKS if name != "bottlenecks"]))
def test_it_loses_less_than_by_the_size_of_weights(name: str) -> None:
    torch.manual_seed(0)
    model = NETWORKS[name]()
    given = calibration_of(model)
    by_answers = compress(model, "pruned", macs=0.8, calibration=given)
    by_size = compress(model, "pruned", macs=0.8, importance="l2")
    dense = kinds.cost(model.spec).macs
    assert 0.6 * dense < kinds.cost(by_answers.spec).macs <= 0.8 * dense
    assert loss(model, by_answers) < 0.8 * loss(model, by_size)
    record = by_answers.made["passes"][-1]
    assert record["importance"] == "calibrated" and record["examples"] == 24
    assert "agreement" in record or record["cosine"] > 0.5


def test_auto_is_the_best_that_the_data_allow() -> None:
    model = small("mobilenetv2_cifar_small")
    made = compress(model, "pruned", ratio=0.3)
    assert made.made["passes"][-1]["importance"] == "l2"
    made = compress(model, "pruned", ratio=0.3, calibration=pictures(model))
    assert made.made["passes"][-1]["importance"] == "calibrated"
    made = compress(model, "pruned-int8", ratio=0.3, importance="l1", calibration=pictures(model))
    assert made.made["passes"][0]["importance"] == "l1"


def test_channels_without_influence_leave_first_and_cost_nothing() -> None:
    """Dead ones, constant ones (what they give goes into the next bias), and one of two that are the same."""
    model = small("mobilenetv2_cifar_small")
    row = next(row for row in model.spec if row.kind == "inverted_residual")
    block = model.get_submodule(row.name)
    with torch.no_grad():
        for part in (block.expand, block.depthwise):
            part.bn.weight[:2] = 0.0  # constant: the shift alone is left
            for value in (part.conv.weight, part.bn.weight, part.bn.bias, part.bn.running_mean, part.bn.running_var):
                value[3] = value[2]
    decision = prune.plan(model, Pruned(ratio=0.3, round_to=1), calibration=pictures(model, 32))
    kept = set(decision.choices["kept"][f"{row.name}.mid"])
    assert not kept & {0, 1} and len(kept & {2, 3}) <= 1


def test_a_network_with_superfluous_channels_is_pruned_without_any_loss() -> None:
    """Each channel inside of the blocks stands there twice: half of them can leave."""
    model = small("mobilenetv2_cifar_small")
    with torch.no_grad():
        for row in (row for row in model.spec if row.kind == "inverted_residual"):
            block = model.get_submodule(row.name)
            half = block.expand.conv.weight.shape[0] // 2
            for part in (block.expand, block.depthwise):
                for value in (
                    part.conv.weight,
                    part.bn.weight,
                    part.bn.bias,
                    part.bn.running_mean,
                    part.bn.running_var,
                ):
                    value[half : 2 * half] = value[:half]
    inner = [row.name for row in model.spec if row.kind == "inverted_residual"]
    made = compress(model, "pruned", macs=0.8, calibration=pictures(model, 64))
    assert any(
        made.spec[name].args["mid_channels"] < model.spec[name].args["mid_channels"]
        for name in inner
        if name in [row.name for row in made.spec]
    )
    assert loss(model, made) < 1e-3


def test_elimination_is_exact() -> None:
    """The damage of each step is the least squared error that remains, whatever the order of the arithmetic."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(400, 6, generator=generator) @ torch.randn(6, 6, generator=generator)
    weight = torch.randn(7, 3, generator=generator).double()
    gram = Gram()
    gram.add(x)
    reading = Reading(gram, weight.clone(), 1)
    curve = eliminated([reading], 6, 4, 2)
    fresh = Reading(gram, weight, 1)
    for gone in range(1, 5):
        change = fresh.without(torch.tensor(curve.order[:gone])) - weight
        error = float((change * (fresh.system @ change)).sum()) * fresh.scale**2
        assert abs(error - curve.damage[gone]) < 1e-6 * max(1.0, error)


def test_the_same_inputs_give_the_same_network() -> None:
    model = sums()
    x = pictures(model)
    first, second = (
        compress(model, "pruned", macs=0.8, calibration=given).state_dict() for given in (x, [x[:9], x[9:]])
    )
    again = compress(model, "pruned", macs=0.8, calibration=x).state_dict()
    assert all(torch.equal(first[key], value) for key, value in again.items())
    assert first.keys() == second.keys() or len(first) > 0


@pytest.mark.parametrize("case", ["constant", "few", "not finite", "one"])
def test_poor_calibration_gives_a_finite_network_or_one_clear_error(case: str) -> None:
    model = lively(reduced(registry.spec("mobilenetv2_cifar_small")))
    x = pictures(model, 12)
    if case == "constant":
        with pytest.raises(ValueError, match="nothing can be ranged"):
            compress(model, "pruned", calibration=torch.ones_like(x))
    elif case == "not finite":
        x[0, 0, 0, 0] = torch.nan
        with pytest.raises(ValueError, match="not finite"):
            compress(model, "pruned", calibration=x)
    elif case == "one":
        with pytest.warns(UserWarning, match="1 input alone"), pytest.raises(ValueError, match="2 inputs or more"):
            compress(model, "pruned", calibration=x[:1])
    else:
        made = compress(model, "pruned", macs=0.7, calibration=x[:3])
        assert all(value.isfinite().all() for value in made.state_dict().values())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"importance": "calibrated"}, "needs calibration="),
        ({"importance": "l2", "calibration": 1}, "calibration= is of no use"),
        ({"macs": 0.01, "keep_at_least": 0.5, "calibration": 1}, "cannot be pruned"),
    ],
)
def test_bad_options_are_one_clear_error(options: dict, message: str) -> None:
    model = small("mobilenetv2_cifar_small")
    if "calibration" in options:
        options = {**options, "calibration": pictures(model)}
    with pytest.raises(ValueError, match=message):
        compress(model, "pruned", **options)


def test_inputs_are_cut_to_even_parts() -> None:
    parts = divided([torch.zeros(100, 1), torch.zeros(300, 1)])
    assert sum(map(count, parts)) == 256 and max(map(count, parts)) == 16
    assert len(divided([torch.zeros(5, 1)])) == 5


def test_a_share_is_told_with_its_interval() -> None:
    assert interval(50.0, 100) == (40.4, 59.6) and interval(100.0, 10) == (72.2, 100.0)
    model = small("mobilenetv2_cifar_small")
    assert likeness(model, model, [pictures(model)]) == {"agreement": 100.0, "interval": [80.6, 100.0], "inputs": 16}
    texts = small("all_minilm_l6_v2")
    assert likeness(texts, texts, [calibration_of(texts)])["cosine"] == 1.0


def test_what_is_made_is_saved_and_converted(tmp_path: object) -> None:
    model = sums()
    made = compress(model, "pruned-int8", macs=0.8, calibration=pictures(model))
    zoo.save(made, str(tmp_path))
    again = zoo.load(str(tmp_path))
    assert torch.equal(again(pictures(model, 1) * 0 + 1), made(pictures(model, 1) * 0 + 1))
    assert again.made["passes"][0]["agreement"] == made.made["passes"][0]["agreement"]
    decision = prune.plan(model, Pruned(ratio=0.3), calibration=pictures(model))
    assert convert(model, decision).spec == prune.respec(model.spec, decision)
    with pytest.raises(ValueError, match="solved weights"):
        decision.dumps()
