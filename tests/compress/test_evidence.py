"""What layers are solved on, and what judges them: inputs that were left out."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor

import networks
import zoo
from zoo.model.build import Model
from zoo.passes.data import count
from zoo.passes.evidence import distinct, sides, spread
from zoo.report.agreement import agreement, left_out, worse

PRUNED: dict[str, Any] = {"passes": "pruned", "macs": 0.7}
SPARSE: dict[str, Any] = {"passes": "sparse", "sparsity": 0.8}


@pytest.fixture(scope="module")
def dense() -> Model:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return networks.sums()


@pytest.fixture(scope="module")
def pictures(dense: Model) -> Tensor:
    return torch.randn(192, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def record(model: Model) -> dict[str, Any]:
    return model.made["passes"][-1]


@pytest.mark.parametrize("options", [PRUNED, SPARSE], ids=["pruned", "sparse"])
def test_the_agreement_is_of_inputs_that_nothing_was_solved_on(
    dense: Model, pictures: Tensor, options: dict[str, Any]
) -> None:
    few = zoo.compress(dense, **options, calibration=pictures[:32])
    told = record(few)
    assert (told["examples"], told["held_out"]) == (32, 8)
    low, high = told["interval"]
    assert low <= agreement(few, dense, [pictures[32:]])[0] <= high


def test_two_pictures_do_not_pass_for_evidence(dense: Model, pictures: Tensor) -> None:
    with pytest.warns(UserWarning, match="Solved on 2 calibration inputs alone"):
        told = record(zoo.compress(dense, **PRUNED, calibration=pictures[:2]))
    low, high = told["interval"]
    assert told["held_out"] == 1
    assert high - low > 70


@pytest.mark.parametrize("options", [PRUNED, SPARSE], ids=["pruned", "sparse"])
def test_copies_count_once(dense: Model, pictures: Tensor, options: dict[str, Any]) -> None:
    with pytest.warns(UserWarning, match="24 of 48 calibration inputs are copies"):
        twice = zoo.compress(dense, **options, calibration=pictures[:24].repeat(2, 1, 1, 1))
    once = zoo.compress(dense, **options, calibration=pictures[:24])
    assert record(twice) == record(once)
    assert agreement(twice, once, [pictures])[0] > 97


@pytest.mark.parametrize("passes", ["pruned", "sparse"])
def test_pictures_of_another_size_are_refused(dense: Model, passes: str) -> None:
    with pytest.raises(ValueError, match="is 3x40x40, and sums was made for 3x32x32"):
        zoo.compress(dense, passes, calibration=torch.randn(20, 3, 40, 40))


def test_zeros_are_not_solved_away(dense: Model, pictures: Tensor) -> None:
    sparse = zoo.compress(dense, "sparse", sparsity=0.7)
    with pytest.raises(ValueError, match=r'is sparse, and pruning by calibration .* "pruned-sparse"'):
        zoo.compress(sparse, "pruned", calibration=pictures[:24])
    assert zoo.compress(sparse, "pruned", importance="l2").spec != sparse.spec


def test_texts_with_other_masks_are_no_copies() -> None:
    model = zoo.create("bert_tiny", weights=None)
    ids = torch.full((2, 4), 7)
    masks = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert count(distinct([{"input_ids": ids, "attention_mask": masks}], model.spec, "more")[0]) == 2


def test_every_fourth_part_judges() -> None:
    parts = list(torch.arange(8.0)[:, None].split(1))
    seen, others = sides(parts)
    assert [int(part) for part in seen] == [0, 1, 2, 4, 5, 6]
    assert [int(part) for part in others] == [3, 7]
    assert [list(map(int, side)) for side in sides(parts[:2])] == [[0], [1]]


def test_what_is_used_of_many_inputs_has_all_of_them_in_reach() -> None:
    classes = torch.arange(10.0).repeat_interleave(100)[:, None]  # sorted, as folders give them
    used = torch.cat(spread([classes[:333], classes[333:]], 50))
    assert len(used) == 50
    assert set(used.flatten().tolist()) == set(range(10))


def test_the_least_agreement_speaks() -> None:
    made = {
        "passes": [{"pass": "pruned", "agreement": 90.0, "interval": [80.0, 95.0], "held_out": 32}, {"pass": "int8"}]
    }
    assert left_out(made) == {"agreement": 90.0, "interval": [80.0, 95.0], "inputs": 32}
    assert left_out({"passes": [{"pass": "int8"}]}) is None
    better = {"agreement": 99.0, "interval": [95.0, 100.0], "inputs": 128}
    assert worse(better, left_out(made)) == left_out(made)
    assert worse(better, None) == better
