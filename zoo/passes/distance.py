"""How far the answers of a changed network are from the dense network's, measured on calibration inputs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch.nn.functional as F
from torch import Tensor


def distance(dense: Sequence[Tensor], answers: Iterable[Tensor], *, classes: int, any_scale: bool = False) -> float:
    """The mean KL divergence of the classes; the relative squared error where `classes` are fewer than two.

    `dense` and `answers` are batches (..., C) of the same inputs. With `any_scale` a factor that all logits share does
    not count, because it changes no class.
    """
    given = list(answers) if any_scale else answers
    factor = _factor(dense, given) if any_scale and classes > 1 else 1.0
    total, power, rows = 0.0, 0.0, 0
    for wanted, found in zip(dense, given, strict=True):
        wanted, found = wanted.flatten(0, -2).double(), found.flatten(0, -2).double()
        if classes > 1:
            sure, other = F.log_softmax(wanted, -1), F.log_softmax(factor * found, -1)
            total += float((sure.exp() * (sure - other)).sum())
            rows += len(sure)
        else:
            total += float((wanted - found).square().sum())
            power += float(wanted.square().sum())
    return max(0.0, total / rows if classes > 1 else total / max(power, 1e-30))


def _factor(dense: Sequence[Tensor], answers: Iterable[Tensor]) -> float:
    """What brings the answers, without the mean of each, next to the dense network's."""
    shared, power = 0.0, 0.0
    for wanted, found in zip(dense, answers, strict=True):
        wanted, found = (one.double() - one.double().mean(-1, keepdim=True) for one in (wanted, found))
        shared += float((wanted * found).sum())
        power += float(found.square().sum())
    return shared / max(power, 1e-30)
