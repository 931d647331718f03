"""Sparse: the smallest weights are zero, as many as asked, and stay so while training goes on."""

from __future__ import annotations

import pytest
import torch
import torch.nn as nn
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.utils import prune

from networks import pictures, small
from zoo.passes.compress import compress
from zoo.passes.sparsify import Sparsifier


def weights(model: nn.Module) -> dict[str, torch.Tensor]:
    return {k: v for k, v in model.state_dict().items() if v.ndim >= 2 and k.endswith("weight")}


def share_of_zeros(tensors: dict[str, torch.Tensor]) -> float:
    return sum(int((t == 0).sum()) for t in tensors.values()) / sum(t.numel() for t in tensors.values())


@pytest.mark.parametrize("scope", ["global", "layer"])
def test_the_smallest_go_and_no_more(scope: str) -> None:
    model = small("mobilenetv2_cifar")
    dense, sparse = weights(model), weights(compress(model, "sparse", sparsity=0.7, scope=scope))
    assert share_of_zeros(sparse) == pytest.approx(0.7, abs=0.01)
    groups = [list(dense)] if scope == "global" else [[key] for key in dense]
    for keys in groups:
        kept = torch.cat([dense[k][sparse[k] != 0].abs() for k in keys])
        gone = torch.cat([dense[k][sparse[k] == 0].abs() for k in keys])
        assert not len(gone) or not len(kept) or gone.max() <= kept.min()
    assert all(torch.equal(dense[k][sparse[k] != 0], sparse[k][sparse[k] != 0]) for k in dense)


@given(st.floats(0.0, 0.9), st.floats(0.05, 0.99), st.integers(2, 400))
def test_schedule_is_cubic_and_never_falls(begin: float, sparsity: float, total: int) -> None:
    sparsifier = Sparsifier(nn.Linear(4, 4), sparsity=sparsity, begin=begin, end=min(1.0, begin + 0.4))
    due = [sparsifier.target(done, total) for done in range(total + 1)]
    assert due == sorted(due) and due[-1] == sparsity and (begin == 0 or due[0] == 0)
    middle = sparsifier.target(round(total * 1e6 * (begin + sparsifier.end) / 2), round(total * 1e6))
    assert middle == pytest.approx(sparsity * (1 - 0.5**3), rel=1e-3)


def test_in_anyones_loop() -> None:
    model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))
    x, y = torch.randn(64, 16), torch.randint(0, 4, (64,))
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    sparsifier = Sparsifier(model, sparsity=0.9, end=0.5, every=5)
    seen = []
    for step in range(1, 101):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
        sparsifier.step(step, 100)
        seen.append(share_of_zeros(weights(model)))
    assert seen[10] < seen[30] < seen[60] and seen[-1] == pytest.approx(0.9, abs=0.01)
    assert len({round(s, 6) for s in seen[60:]}) == 1


def test_masks_of_torch_prune_are_understood() -> None:
    model = small("mobilenetv2_cifar")
    plain = model.state_dict()["head.conv.weight"].clone()
    prune.l1_unstructured(model.head.conv, "weight", amount=0.95)
    made = compress(model, "sparse", sparsity=0.3)
    head = made.state_dict()["head.conv.weight"]
    assert (head == 0).float().mean() > 0.945 and torch.equal(head[head != 0], plain[head != 0])
    assert share_of_zeros(weights(made)) >= 0.299


def test_zeros_survive_int8() -> None:
    model = small("mobilenetv2_cifar")
    sparse = compress(model, "sparse", sparsity=0.8)
    both = compress(sparse, "int8", calibration=pictures(model))
    for name, weight in both.state_dict().items():
        if weight.dtype == torch.int8:
            float_name = name.replace(".weight", ".conv.weight") if "fc" not in name else name
            float_weight = sparse.state_dict().get(float_name, sparse.state_dict().get(name))
            assert (weight[float_weight == 0] == 0).all()


@pytest.mark.parametrize("options", [{"sparsity": 0.0}, {"sparsity": 1.0}, {"sparsity": "a"}, {"scope": "row"}])
def test_bad_options_are_one_clear_error(options: dict) -> None:
    with pytest.raises(ValueError):
        compress(small("mobilenetv2_cifar"), "sparse", **options)


def test_holding_keeps_the_zeros_there_are_and_makes_no_more() -> None:
    model = compress(small("mobilenetv2_cifar"), "sparse", sparsity=0.7)
    zeros = {key: tensor == 0 for key, tensor in weights(model).items()}
    held = Sparsifier.holding(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for done in range(3):
        optimizer.zero_grad()
        model.train()(pictures(model)).square().sum().backward()
        optimizer.step()
        assert any(bool((weights(model)[key][gone] != 0).any()) for key, gone in zeros.items())
        held.step(done + 1, 3)
        assert all(torch.equal(weights(model)[key] == 0, gone) for key, gone in zeros.items())
