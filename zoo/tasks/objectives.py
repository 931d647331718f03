"""Training losses, one function for each kind of answer: outputs and targets to a scalar.

Shapes: B examples, N tokens, K classes, H and W height and width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.data.void import IGNORED


def of_classes(outputs: Tensor, targets: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
    """Cross-entropy of scores (B, K), with classes (B,) or shares of classes (B, K)."""
    return F.cross_entropy(outputs, targets, label_smoothing=label_smoothing)


def of_tokens(outputs: Tensor, targets: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
    """Cross-entropy of scores (B, N, K) with the class of every token (B, N); -100 is not counted."""
    return F.cross_entropy(outputs.flatten(0, 1), targets.flatten(), label_smoothing=label_smoothing)


def of_next_token(outputs: Tensor, targets: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
    """Cross-entropy of scores (B, N, K) with the token behind each, of the texts (B, N) themselves."""
    return of_tokens(outputs[:, :-1], targets[:, 1:], label_smoothing=label_smoothing)


def of_pixels(outputs: Tensor, targets: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
    """Cross-entropy of scores (B, K, h, w), bilinearly at the size of the masks (B, H, W), where a pixel counts."""
    if outputs.shape[2:] != targets.shape[1:]:
        outputs = F.interpolate(outputs, targets.shape[1:], mode="bilinear", align_corners=False)
    wanted = targets.long()
    total = F.cross_entropy(outputs, wanted, ignore_index=IGNORED, label_smoothing=label_smoothing, reduction="sum")
    return total / (wanted != IGNORED).sum().clamp_min(1)  # a crop may have no pixel that counts


def of_binary(outputs: Tensor, targets: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
    """Binary cross-entropy of one logit (B, 1) or (B,), with the classes 0 and 1 (B,), or shares of class 1."""
    wanted = targets.to(outputs.dtype)
    if label_smoothing:
        wanted = wanted * (1 - label_smoothing) + label_smoothing / 2
    return F.binary_cross_entropy_with_logits(outputs.reshape(wanted.shape), wanted)


def in_pairs(outputs: Tensor) -> Tensor:
    """Scores of no and of yes (B, 2), whose softmax has the probability that is the sigmoid of one logit (B, 1)."""
    return F.pad(outputs, (1, 0))


def shares_in_pairs(targets: Tensor) -> Tensor:
    """Shares of no and of yes (B, 2), float32, from those of yes (B,)."""
    yes = targets.float()
    return torch.stack((1 - yes, yes), 1)


def of_numbers(outputs: Tensor, targets: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
    """Mean squared error of scores (B, 1) or (B, K), with numbers (B,) or (B, K)."""
    if label_smoothing:
        raise ValueError("label_smoothing= is for classes, and these targets are numbers.")
    return F.mse_loss(outputs.reshape(targets.shape), targets.to(outputs.dtype))
