"""How far answers are from the dense network's."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from zoo.passes.distance import distance


def batches(*shape: int) -> list[torch.Tensor]:
    return [torch.randn(5, *shape), torch.randn(3, *shape)]


@pytest.mark.parametrize("shape", [(4,), (7, 4)])
def test_classes_are_compared_by_their_divergence(shape: tuple[int, ...]) -> None:
    dense, answers = batches(*shape), batches(*shape)
    wanted, found = (torch.cat([one.flatten(0, -2) for one in many]).double() for many in (dense, answers))
    expected = F.kl_div(found.log_softmax(-1), wanted.log_softmax(-1), reduction="batchmean", log_target=True)
    assert distance(dense, iter(answers), classes=4) == pytest.approx(float(expected))
    assert distance(dense, dense, classes=4) == 0.0


def test_a_factor_that_all_logits_share_counts_only_where_asked() -> None:
    dense = batches(4)
    answers = [0.5 * one + 3.0 for one in dense]
    assert distance(dense, answers, classes=4) > 0.01
    assert distance(dense, iter(answers), classes=4, any_scale=True) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("any_scale", [False, True])
@pytest.mark.parametrize("classes", [0, 1])
def test_without_classes_and_for_one_logit_it_is_the_relative_error(classes: int, any_scale: bool) -> None:
    dense = batches(1)
    answers = [1.1 * one for one in dense]
    assert distance(dense, answers, classes=classes, any_scale=any_scale) == pytest.approx(0.01, rel=1e-4)
