"""Sparse on calibration inputs: exact counts, solved weights, and answers nearer to the dense ones."""

from __future__ import annotations

from itertools import product

import pytest
import torch
import torch.nn as nn
from hypothesis import given, settings
from hypothesis import strategies as st

from networks import answer, calibration_of, gated, inputs, mixed, small, tiny
from zoo.model.build import Model
from zoo.passes.compress import compress
from zoo.passes.gram import Gram
from zoo.passes.places import places
from zoo.passes.quadratic import Quadratic, but_zeros, four_groups, smallest_go, two_of_four
from zoo.passes.sparsify import four_mask
from zoo.passes.zeros import Loss, allotted


def layer(outputs: int = 12, width: int = 24, positions: int = 400, seed: int = 0) -> tuple[Gram, torch.Tensor]:
    """A linear layer whose inputs go together, and their Gram."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(positions, width, generator=generator) @ torch.randn(width, width, generator=generator) + 1
    weight = torch.randn(1, outputs, width, generator=generator).double()
    gram = Gram()
    gram.add(x, x @ weight[0].float().T)
    return gram, weight


def weights(model: Model) -> dict[str, torch.Tensor]:
    return {place.key: model.state_dict()[place.key] for row in model.spec for place in places(row)}


def zeros(tensors: dict[str, torch.Tensor]) -> int:
    return sum(int((tensor == 0).sum()) for tensor in tensors.values())


@settings(max_examples=10)
@given(st.integers(0, 100), st.sampled_from([0.3, 0.5, 0.8]))
def test_what_is_found_errs_less_than_the_largest_weights_refitted_by_least_squares(seed: int, share: float) -> None:
    gram, weight = layer(seed=seed)
    system = Quadratic.of(gram, weight)
    gone = round(share * weight.numel())
    found = system.search(smallest_go(gone))
    largest = smallest_go(gone)(weight.abs(), 1.0)
    assert int((~found).sum()) == gone == int((~largest).sum())
    errors = [float(system.error(system.refit(mask)).sum()) for mask in (found, largest)]
    assert errors[0] < errors[1]


def test_on_few_weights_it_is_near_the_best_mask_there_is() -> None:
    gram, weight = layer(outputs=1, width=8)
    system = Quadratic.of(gram, weight)
    found = system.search(smallest_go(4))
    error = float(system.error(system.refit(found)))
    masks = [torch.tensor([[kept]]) for kept in product((False, True), repeat=8) if sum(kept) == 4]
    each = [float(system.error(system.refit(mask))) for mask in masks]
    assert error <= sorted(each)[3]


def test_a_refit_is_the_least_squares_solution_on_the_mask() -> None:
    gram, weight = layer()
    system = Quadratic.of(gram, weight)
    mask = smallest_go(150)(weight.abs(), 1.0)
    solved = system.refit(mask, 200)
    for row in range(weight.shape[1]):
        kept = mask[0, row].nonzero().flatten()
        pull = (system.best[0, row] @ system.hessian[0])[kept]
        exact = torch.linalg.solve(system.hessian[0][kept][:, kept], pull)
        torch.testing.assert_close(solved[0, row, kept], exact, rtol=1e-6, atol=1e-8)
    assert not solved[~mask].any()


def test_the_bias_is_the_best_beside_the_weights() -> None:
    gram, weight = layer()
    system = Quadratic.of(gram, weight)
    solved = system.refit(smallest_go(150)(weight.abs(), 1.0))
    bias = system.bias(solved)
    errors = [
        float(gram.error(torch.cat([solved, (bias + shift)[..., None]], -1)[0].T).sum()) for shift in (0.0, 0.01, -0.01)
    ]
    assert min(errors) == errors[0]


@pytest.mark.parametrize("case", ["constant", "twice the same", "fewer positions than inputs", "zeros"])
def test_a_singular_layer_has_finite_weights(case: str) -> None:
    x = torch.randn(8 if case.startswith("fewer") else 200, 20, generator=torch.Generator().manual_seed(0))
    if case == "constant":
        x[:, :5] = 3.0
    elif case.startswith("twice"):
        x[:, 10:] = x[:, :10]
    elif case == "zeros":
        x.zero_()
    weight = torch.randn(1, 4, 20).double()
    gram = Gram()
    gram.add(x, x @ weight[0].float().T)
    system = Quadratic.of(gram, weight)
    mask = system.search(smallest_go(40))
    solved = system.refit(mask)
    assert int((~mask).sum()) == 40 and solved.isfinite().all() and system.bias(solved).isfinite().all()


@pytest.mark.parametrize("window", [1, 9])
def test_two_of_four_go_at_each_place_of_a_kernel(window: int) -> None:
    scores = torch.rand(1, 6, 8 * window)
    mask = two_of_four(window)(scores, 1.0)
    assert torch.equal(mask, four_groups(scores, window))
    grouped = mask.view(6, 2, 4, window)
    assert (grouped.sum(2) == 2).all()
    kept, gone = scores.view(6, 2, 4, window), scores.view(6, 2, 4, window)
    assert (kept.masked_fill(~grouped, 9).amin(2) >= gone.masked_fill(grouped, -9).amax(2)).all()
    half = two_of_four(window)(scores, 0.5)
    assert int((~half).sum()) == scores.numel() // 4 and (half | ~mask).all()


def test_zeros_that_are_there_stay_and_count() -> None:
    weight = torch.tensor([[[1.0, 0.0, 2.0, 0.0, 3.0]]])
    mask = but_zeros(smallest_go(3), weight)(torch.tensor([[[1.0, 9.0, 2.0, 9.0, 3.0]]]), 1.0)
    assert mask.tolist() == [[[False, False, True, False, True]]]


def test_zeros_go_where_they_cost_least_and_are_as_many_as_asked() -> None:
    found = {
        "cheap": Loss([0, 50, 95], [0.0, 0.1, 0.3]),
        "dear": Loss([0, 50, 95], [0.0, 5.0, 50.0]),
        "half": Loss([10, 50, 95], [0.0, 0.2, 20.0]),
    }
    for wanted in (10, 60, 133, 200, 285):
        given = allotted(found, wanted)
        assert sum(given.values()) == wanted
    assert allotted(found, 135) == {"cheap": 95, "dear": 0, "half": 40}
    assert allotted(found, 5)["half"] == 10  # as many as there are


@pytest.mark.parametrize(
    ("make", "options"),
    [
        (mixed, {"sparsity": 0.5}),
        (mixed, {"pattern": "2:4"}),
        (lambda: gated("swish"), {"sparsity": 0.6, "scope": "layer"}),
        (lambda: small("all_minilm_l6_v2"), {"sparsity": 0.6, "scope": "layer"}),
        (lambda: small("vit_tiny_patch16_224"), {"pattern": "2:4"}),
    ],
)
def test_answers_are_nearer_to_the_dense_ones_than_magnitudes_give(make: object, options: dict) -> None:
    torch.manual_seed(0)
    model = make()  # type: ignore[operator]
    made = compress(model, "sparse", calibration=calibration_of(model), **options)
    plain = compress(model, "sparse", **options)
    fresh = inputs(model, 16)
    with torch.inference_mode():
        dense = answer(model, fresh)
        errors = [float((answer(one, fresh) - dense).norm() / dense.norm()) for one in (made, plain)]
    assert errors[0] < 0.75 * errors[1]
    assert made.made["passes"][-1]["by"] == "second_order" and plain.made["passes"][-1]["by"] == "magnitude"
    held = weights(made)
    if "pattern" in options:
        fours = {key: weight for key, weight in held.items() if weight.shape[1] % 4 == 0}
        assert fours and zeros(held) - zeros({**held, **fours}) == 0
        for weight in fours.values():
            assert torch.equal(four_mask(weight), weight != 0)
    elif options.get("scope") == "layer":
        assert all(int((w == 0).sum()) == round(0.6 * w.numel()) for w in held.values())
    else:
        assert zeros(held) == round(0.5 * sum(w.numel() for w in held.values()))


@pytest.mark.parametrize("make", [lambda: gated("swish"), mixed, tiny])
def test_every_layer_of_every_kind_of_row_is_solved(make: object) -> None:
    torch.manual_seed(0)
    model = make()  # type: ignore[operator]
    made = compress(model, "sparse", calibration=calibration_of(model), sparsity=0.5, scope="layer")
    before = weights(model)
    for key, weight in weights(made).items():
        assert int((weight == 0).sum()) == round(0.5 * weight.numel())
        assert not torch.equal(weight[weight != 0], before[key][weight != 0]), key


def test_tables_of_tokens_and_positions_stay() -> None:
    model = small("all_minilm_l6_v2")
    made = compress(model, "sparse", calibration=calibration_of(model), sparsity=0.5)
    for row in model.spec:
        for key, value in model.get_submodule(row.name).state_dict().items():
            if "tokens" in key or "positions" in key or "types" in key:
                assert torch.equal(value, made.state_dict()[f"{row.name}.{key}"])


def test_made_again_it_is_the_same_and_the_model_given_stays() -> None:
    model = tiny()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    images = calibration_of(model)
    one, other = (compress(model, "sparse", calibration=images, sparsity=0.7).state_dict() for _ in range(2))
    assert all(torch.equal(one[key], other[key]) for key in one)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_masks_of_torch_prune_stay_and_count() -> None:
    model = tiny()
    nn.utils.prune.l1_unstructured(model.classifier.fc, "weight", amount=0.5)
    gone = model.state_dict()["classifier.fc.weight_mask"] == 0
    made = compress(model, "sparse", calibration=calibration_of(model), sparsity=0.4)
    assert not made.state_dict()["classifier.fc.weight"][gone].any()
    assert zeros(weights(made)) == round(0.4 * sum(w.numel() for w in weights(made).values()))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"pattern": "2:4", "sparsity": 0.5}, "leave out sparsity"),
        ({"pattern": "1:4"}, "pattern= takes"),
        ({"calibration": torch.zeros(4, 3, 32, 32)}, "Every value"),
        ({"calibration": torch.full((4, 3, 32, 32), torch.nan)}, "not finite"),
    ],
)
def test_what_cannot_be_is_one_clear_error(options: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        compress(tiny(), "sparse", **options)


def test_the_record_says_how_and_how_often_classes_agree() -> None:
    made = compress(tiny(), "sparse", calibration=torch.randn(12, 3, 32, 32), sparsity=0.5)
    said = made.made["passes"][-1]
    assert said["by"] == "second_order" and said["examples"] == 12 and 0 <= said["agreement"] <= 100


def test_inputs_that_are_constant_but_for_rounding_are_solved() -> None:
    constants = torch.linspace(0.3, 6.0, 200)[:, None, None]
    weight = torch.randn(200, 1, 9).double()
    gram = Gram()
    for _ in range(8):
        gram.add(constants.expand(-1, 3200, 9))
    gram.xy = gram.xx @ torch.cat([weight, torch.zeros(200, 1, 1)], -1).mT
    system = Quadratic.of(gram, weight)
    assert torch.linalg.eigvalsh(system.hessian).min() > 0
    mask = system.search(smallest_go(900))
    assert system.refit(mask).isfinite().all()
