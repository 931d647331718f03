"""Pruned: whole channels leave, ties narrow together, and the rest answers as the dense network with zeros does."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from networks import CONVOLUTIONAL, EACH_CONVOLUTIONAL, HYBRIDS, gated, lively, pictures, small
from reduced import reduced
from zoo import kinds, registry
from zoo.model.answer import answer
from zoo.model.build import Model, build
from zoo.passes import Pruned, prune
from zoo.passes.compress import compress, convert
from zoo.passes.decision import Decision
from zoo.passes.groups import channel_groups, kept_channels, narrowed
from zoo.passes.importance import CRITERIA

SUBJECTS = (*CONVOLUTIONAL, *HYBRIDS, "gated")
BY_EACH = (
    "gated",
    "mobilenetv2_035",
    "resnet50",
    *HYBRIDS,
)  # criterion; the others by the first one, the rest of them nightly


def rare(name: str, criterion: str) -> bool:
    return name not in BY_EACH and not (name in EACH_CONVOLUTIONAL and criterion == next(iter(CRITERIA)))


CASES = [
    pytest.param(name, criterion, marks=pytest.mark.nightly if rare(name, criterion) else ())
    for name in SUBJECTS
    for criterion in CRITERIA
]


def subject(name: str) -> Model:
    return gated("hard_swish", "hard_sigmoid") if name == "gated" else small(name)


def labelled(model: Model) -> tuple[torch.Tensor, torch.Tensor]:
    return pictures(model), torch.arange(16) % 10


def zeroed(model: Model, decision: Decision) -> Model:
    """The dense network with every entry that belongs to a dropped channel at zero."""
    model = copy.deepcopy(model)
    kept = decision.choices["kept"]
    of_node = kept_channels(channel_groups(model.spec), kept)
    state = model.state_dict()
    for row in model.spec:
        for key, (_, axes) in kinds.state(row).items():
            for dim, axis in enumerate(axes):
                if isinstance(axis, kinds.Axis) and (row.name, axis.space) in of_node and "running" not in key:
                    dropped = torch.ones(axis.length, dtype=torch.bool)
                    dropped[of_node[row.name, axis.space]] = False
                    state[f"{row.name}.{key}"].index_fill_(dim, dropped.nonzero().flatten(), 0)
    return model


@pytest.mark.parametrize(("name", "criterion"), CASES)
def test_equals_the_dense_network_with_zeros(name: str, criterion: str) -> None:
    model = subject(name)
    decision = prune.plan(
        model,
        Pruned(ratio=0.4, importance=criterion, round_to=4),
        data=labelled(model) if criterion == "taylor" else None,
    )
    x = pictures(model, 4)
    with torch.inference_mode():
        expected = answer(zeroed(model, decision), x)
        got = answer(convert(model, decision), x)
    assert kinds.cost(convert(model, decision).spec).macs < kinds.cost(model.spec).macs
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize("target", ["macs", "parameters"])
@pytest.mark.parametrize("share", [0.3, 0.5, 0.8])
def test_budget_is_kept_and_spent(target: str, share: float) -> None:
    model = lively(registry.spec("mobilenetv2_cifar"))
    dense, pruned = kinds.cost(model.spec), kinds.cost(compress(model, "pruned", **{target: share}).spec)
    assert share - 0.08 < getattr(pruned, target) / getattr(dense, target) <= share


@pytest.mark.parametrize("scope", ["macs", "parameters"])
def test_equal_scores_do_not_collapse_the_network(scope: str) -> None:
    model = build(registry.spec("mobilenetv2_cifar"))  # every batch-norm factor is 1
    pruned = compress(model, "pruned", importance="bn_scale", **{scope: 0.5})
    assert 0.4 < getattr(kinds.cost(pruned.spec), scope) / getattr(kinds.cost(model.spec), scope) <= 0.5


def test_taylor_leaves_a_training_model_alone() -> None:
    model = small("mobilenetv2_cifar").train()
    model.stem.requires_grad_(False)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    compress(model, "pruned", ratio=0.5, importance="taylor", data=labelled(model))
    assert model.training and all(torch.equal(before[k], v) for k, v in model.state_dict().items())


def test_skips_narrow_together() -> None:
    model = compress(lively(registry.spec("mobilenetv2_cifar")), "pruned", ratio=0.5)
    stage = [model.spec[f"s3_{i}"].args["out_channels"] for i in (1, 2, 3, 4)]
    assert len(set(stage)) == 1 and stage[0] == 32
    assert model.spec["s4_1"].args["in_channels"] == stage[0]


def test_widths_and_floor() -> None:
    spec = compress(lively(registry.spec("mobilenetv2_cifar")), "pruned", ratio=0.97).spec
    for group in channel_groups(spec):
        if not group.frozen:
            assert group.size >= 4 and group.size % 4 == 0
    assert spec["classifier"].args["num_classes"] == 10 and spec["stem"].args["in_channels"] == 3


def test_what_is_kept_is_what_matters() -> None:
    model = small("mobilenetv2_cifar")
    state = model.state_dict()
    weak = [1, 2, 5]
    for key in ("s2_1.expand.conv.weight", "s2_1.expand.bn.weight", "s2_1.depthwise.bn.weight"):
        state[key][weak] *= 1e-4
    state["s2_1.depthwise.conv.weight"][weak] *= 1e-4
    for criterion in ("l1", "l2", "bn_scale"):
        kept = prune.plan(model, Pruned(ratio=0.5, importance=criterion, round_to=1)).choices["kept"]["s2_1.mid"]
        assert not set(weak) & set(kept)


@given(st.floats(0.05, 0.95), st.sampled_from([None, 4, 8, 16]))
def test_respec_needs_no_weights_and_stays_valid(ratio: float, round_to: int | None) -> None:
    spec = reduced(registry.spec("mobilenetv2_035"), width=0.5)
    groups = [g for g in channel_groups(spec) if not g.frozen]
    widths = {g.name: min(g.size, max(4, round(g.size * (1 - ratio)))) for g in groups}
    assert kinds.cost(kinds.check(narrowed(spec, widths))).macs <= kinds.cost(spec).macs


def test_the_decision_is_json() -> None:
    model = small("mobilenetv2_cifar_small")
    decision = prune.plan(model, Pruned(ratio=0.3))
    again = Decision.loads(decision.dumps())
    assert convert(model, again).spec == convert(model, decision).spec


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ratio": 1.5}, "between 0 and 1"),
        ({"ratio": 0.5, "macs": 0.5}, "one of"),
        ({"macs": 0.01, "keep_at_least": 0.5}, "cannot be pruned"),
        ({"ratio": 0.5, "importance": "l3"}, "l3"),
        ({"ratio": 0.5, "importance": "taylor"}, "labelled"),
        ({"importance": "taylor", "data": (torch.zeros(0, 3, 32, 32), torch.zeros(0))}, "one length"),
        ({"importance": "taylor", "data": (torch.zeros(2, 3, 32, 32), torch.tensor([3, 10]))}, "0 to 9"),
        ({"importance": "taylor", "data": (torch.full((2, 3, 32, 32), torch.nan), torch.tensor([3, 1]))}, "finite"),
        ({"ratio": 0.5, "round_to": 2.5}, "round_to"),
        ({"ratio": 0.5, "keep_at_least": 5}, "keep_at_least"),
        ({"ratio": 0.5, "sparsity": 0.5}, "sparsity= is an option of the pass 'sparse'"),
        ({"importance": "l1", "calibration": torch.zeros(2, 3, 32, 32)}, "calibration= is of no use to 'pruned'"),
    ],
)
def test_bad_options_are_one_clear_error(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        compress(small("mobilenetv2_cifar"), "pruned", **options)


def test_the_model_given_is_untouched() -> None:
    model = gated("hard_swish")
    before = {key: value.clone() for key, value in model.state_dict().items()}
    compress(model, "pruned-sparse-int8", ratio=0.5, calibration=pictures(model))
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
