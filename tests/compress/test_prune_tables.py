"""Pruning of recommenders: rows of rare values leave, features have vectors of their own width, towers narrow."""

from __future__ import annotations

import pytest
import torch

import zoo
from networks import schema_for, small
from zoo import kinds, registry
from zoo.inputs import Feature
from zoo.model.build import Model, from_state
from zoo.passes.compress import convert
from zoo.passes.decision import Decision
from zoo.passes.groups import channel_groups, of_part, parted
from zoo.spec import TableInput
from zoo.weights.file import load, save

SCHEMA = TableInput(
    (
        Feature("user", num_embeddings=12),
        Feature("item", num_embeddings=30),
        Feature("tags", "list", num_embeddings=9, max_length=3),
        Feature("place", num_embeddings=16, hashed=True),
        Feature("age", "numeric"),
    ),
    crosses=(("user", "item", 40),),
)


def dense(name: str) -> Model:
    model = zoo.create(registry.spec(name, schema=schema_for(name, SCHEMA), dim=8, hidden=(16, 8)))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, 0.0, 0.3)
    model.vocabulary.copy_(torch.cat([torch.sort(torch.randint(2**60, (one.keys,)))[0] for one in SCHEMA.features]))
    return model


def rows_of(table: torch.Tensor, place: int) -> torch.Tensor:
    """The rows of one feature in a table that holds all of them."""
    start = sum(one.rows for one in SCHEMA.features[:place])
    return table[start : start + SCHEMA.features[place].rows]


@pytest.mark.parametrize("target", ["macs", "parameters", "ratio"])
@pytest.mark.parametrize("name", ["wide_deep", "deepfm", "dcnv2"])
def test_a_pruned_recommender_is_the_dense_one_with_zeros(name: str, target: str) -> None:
    model = dense(name)
    x = model.spec.input.example(32)
    model.embed.tables[0].weight.data[5:] *= torch.linspace(0.05, 1, 8)  # some entries matter less
    small = zoo.compress(model, "pruned", **{target: 0.6 if target != "ratio" else 0.4})
    if target != "ratio":
        before, after = (getattr(kinds.cost(one.spec), target) for one in (model.spec and model, small))
        assert after <= 0.6 * before
    dims = small.spec["embed"].args["dims"]
    assert sum(dims) < 40 and min(dims) >= 1
    (group,) = [group for group in channel_groups(model.spec) if group.parts]
    decision = zoo.passes.prune.plan(model, zoo.passes.Pruned(**{target: 0.6 if target != "ratio" else 0.4}))
    kept = decision.choices["kept"]
    with torch.inference_mode():
        expected = small(x)
        for place, part in enumerate(parted(group)):
            lanes = kept.get(of_part(group, place), range(part.size))
            gone = [lane for lane in range(part.size) if lane not in lanes]
            assert dims[place] == part.size - len(gone)
            rows_of(model.embed.tables[0].weight, place)[:, gone] = 0.0
        for row in model.spec:
            if row.kind == "hidden" and f"{row.name}.out" in kept:
                gone = [one for one in range(row.args["out_features"]) if one not in kept[f"{row.name}.out"]]
                model.get_submodule(row.name).fc.weight[gone] = 0.0
                model.get_submodule(row.name).fc.bias[gone] = 0.0
        torch.testing.assert_close(expected, model(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["wide_deep", "deepfm", "dcnv2", "finalmlp"])
def test_rare_values_become_unknown(name: str, tmp_path) -> None:
    model = dense(name)
    x = model.spec.input.example(200)
    x[:, 0] = torch.randint(2, 7, (200,)).double()  # users behind row 6 are never seen
    x[0, 0] = 9.0  # and one once
    made = zoo.compress(model, "pruned", calibration=x, min_count=2)
    assert made.made["passes"][-1]["min_count"] == 2
    user = made.spec.table.feature("user")
    assert user.num_embeddings == 7 and made.spec["embed"].args["dims"] == model.spec["embed"].args["dims"]
    assert torch.equal(made.vocabulary[:5], model.vocabulary[:5]) and len(made.vocabulary) == sum(
        one.keys for one in made.spec.table.features
    )
    hand = from_state(model.spec, {key: value.clone() for key, value in model.state_dict().items()})
    table = rows_of(hand.embed.tables[0].weight, 0)
    with torch.inference_mode():
        single = table[9].clone()  # the only one of those that leave which occurs
        table[[1, 7, 8, 9, 10, 11]] = single
        if name in ("wide_deep", "deepfm"):
            weights = rows_of(hand.wide.table.weight, 0)
            weights[[1, 7, 8, 9, 10, 11]] = weights[9].clone()
        for number in (0, 1, 3, 6):
            x[:, 0] = number
            torch.testing.assert_close(made(x), hand(x), rtol=1e-4, atol=1e-5)
        given = x.clone()
        x[:, 0], given[:, 0] = 10, 1  # what has left is unknown
        torch.testing.assert_close(made(given), hand(x), rtol=1e-4, atol=1e-5)
    save(made, tmp_path / "m")
    torch.testing.assert_close(load(tmp_path / "m")(given), made(given))


def test_the_unknown_row_is_the_mean_of_those_that_leave() -> None:
    model = dense("deepfm")
    x = model.spec.input.example(100)
    x[:, 0] = 2
    x[:6, 0] = torch.tensor([3.0, 3, 4, 1, 5, 5])
    made = zoo.compress(model, "pruned", calibration=x, min_count=3)
    table = rows_of(model.embed.tables[0].weight, 0)
    expected = (2 * table[3] + table[4] + table[1] + 2 * table[5]) / 6
    torch.testing.assert_close(made.embed.tables[0].weight[1], expected)
    assert made.spec.table.feature("user").num_embeddings == 3


def test_rows_and_widths_leave_in_one_go() -> None:
    model, x = dense("deepfm"), SCHEMA.example(64)
    x[:, 1] = torch.randint(2, 9, (64,)).double()
    made = zoo.compress(model, "pruned", calibration=x, min_count=1, parameters=0.5)
    assert kinds.cost(made.spec).parameters <= 0.5 * kinds.cost(model.spec).parameters
    x[:, 1] = 2
    assert made(x).isfinite().all()
    again = convert(model, Decision.loads(zoo.passes.prune.plan(model, zoo.passes.Pruned(macs=0.7)).dumps()))
    assert again.spec == zoo.compress(model, "pruned", macs=0.7).spec


def test_the_commonest_value_stays() -> None:
    model, x = dense("deepfm"), SCHEMA.example(8)
    made = zoo.compress(model, "pruned", calibration=x, min_count=1000)
    assert made.spec.table.feature("user").num_embeddings == 3
    assert made.spec.table.feature("place").num_embeddings == 16  # hashed: any value may come


def test_what_cannot_be_pruned_so() -> None:
    with pytest.raises(ValueError, match="min_count= is for recommenders"):
        zoo.compress(small("resnet20"), "pruned", calibration=torch.randn(4, 3, 32, 32), min_count=2)
    with pytest.raises(ValueError, match="calibration"):
        zoo.compress(dense("deepfm"), "pruned", min_count=2)
    with pytest.raises(ValueError, match="is for pictures and texts"):
        zoo.compress(dense("deepfm"), "pruned", calibration=SCHEMA.example(8), importance="calibrated")


@pytest.mark.parametrize("name", ["deepfm", "dcnv2"])
def test_passes_behind_take_the_new_numbers(name: str) -> None:
    """Values leave, and int8 is calibrated by what the smaller network reads."""
    model = dense(name)
    rows = model.spec.input.example(64)
    both = zoo.compress(model, "pruned-int8", parameters=0.6, min_count=2, calibration=rows)
    assert both.spec.input != model.spec.input
    assert bool(torch.isfinite(both(both.spec.input.example(8))).all())
