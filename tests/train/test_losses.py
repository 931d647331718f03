"""Losses against their formulas written out."""

from __future__ import annotations

import math

import pytest
import torch

from zoo.train.losses import attention_maps, distillation, features, soft_labels


def softmax(row: list[float]) -> list[float]:
    powers = [math.exp(value) for value in row]
    return [power / sum(powers) for power in powers]


def divergence(student: list[list[float]], teacher: list[list[float]], temperature: float) -> float:
    total = 0.0
    for s, t in zip(student, teacher, strict=True):
        p = softmax([value / temperature for value in t])
        q = softmax([value / temperature for value in s])
        total += sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    return temperature**2 * total / len(student)


STUDENT = [[1.0, -2.0, 0.5], [0.0, 3.0, -1.0]]
TEACHER = [[2.0, 0.0, -1.0], [0.5, 1.0, 1.5]]


@pytest.mark.parametrize("temperature", [1.0, 4.0, 0.5])
def test_soft_labels(temperature: float) -> None:
    loss = soft_labels(torch.tensor(STUDENT), torch.tensor(TEACHER), temperature=temperature)
    assert loss.shape == ()
    assert float(loss) == pytest.approx(divergence(STUDENT, TEACHER, temperature), rel=1e-5)


def test_soft_labels_of_equal_answers_are_zero_and_pull_towards_the_teacher() -> None:
    teacher = torch.tensor(TEACHER)
    assert float(soft_labels(teacher, teacher)) == pytest.approx(0.0, abs=1e-6)
    student = torch.tensor(STUDENT, requires_grad=True)
    soft_labels(student, teacher, temperature=1.0).backward()
    expected = (student.softmax(1) - teacher.softmax(1)) / 2  # the gradient of a cross-entropy, over the batch of two
    torch.testing.assert_close(student.grad, expected.detach())


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_distillation_mixes_soft_and_true_labels(weight: float) -> None:
    labels = [2, 1]
    hard = -sum(math.log(softmax(row)[label]) for row, label in zip(STUDENT, labels, strict=True)) / 2
    loss = distillation(
        torch.tensor(STUDENT), torch.tensor(TEACHER), torch.tensor(labels), temperature=3.0, weight=weight
    )
    expected = weight * divergence(STUDENT, TEACHER, 3.0) + (1 - weight) * hard
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_features() -> None:
    student, teacher = torch.zeros(2, 1, 1, 2), torch.tensor([1.0, 2.0, 3.0, 4.0]).reshape(2, 1, 1, 2)
    assert float(features(student, teacher)) == pytest.approx((1 + 4 + 9 + 16) / 4)


def test_attention_maps() -> None:
    student = torch.tensor([[[[3.0, 0.0]], [[0.0, 0.0]]]])  # energy all on the left: (1, 0)
    teacher = torch.tensor([[[[0.0, 5.0]]]])  # all on the right: (0, 1)
    assert float(attention_maps(student, teacher)) == pytest.approx(2.0)
    assert float(attention_maps(student, 7 * student)) == pytest.approx(0.0)
    both = torch.tensor([[[[2.0, 2.0]]]])  # (1, 1) / sqrt(2)
    assert float(attention_maps(student, both)) == pytest.approx((1 - 0.5**0.5) ** 2 + 0.5, rel=1e-5)


def test_shapes_that_do_not_agree_are_named() -> None:
    with pytest.raises(ValueError, match=r"differ in shape: \(2, 3\), \(2, 4\)"):
        soft_labels(torch.zeros(2, 3), torch.zeros(2, 4))
    with pytest.raises(ValueError, match="differ in shape"):
        features(torch.zeros(1, 2, 4, 4), torch.zeros(1, 3, 4, 4))
    with pytest.raises(ValueError, match="one batch and size"):
        attention_maps(torch.zeros(1, 2, 4, 4), torch.zeros(1, 2, 2, 2))
