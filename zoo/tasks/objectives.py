"""Training losses, one function for each kind of answer: outputs and targets to a scalar.

Shapes: B examples, N tokens, K classes, H and W height and width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.data.void import IGNORED, NO_TOKEN


def of_classes(outputs: Tensor, targets: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
    """Cross-entropy of scores (B, K), with classes (B,) or shares of classes (B, K)."""
    return F.cross_entropy(outputs, targets, label_smoothing=label_smoothing)


def of_tokens(outputs: Tensor, targets: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
    """Cross-entropy of scores (B, N, K) with the class of every token (B, N); -100 is not counted."""
    return of_classes(*as_tokens(outputs, targets), label_smoothing=label_smoothing)


def of_next_token(outputs: Tensor, targets: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
    """Cross-entropy of scores (B, N, K) with the token behind each, of the texts (B, N) themselves."""
    return of_classes(*as_next_tokens(outputs, targets), label_smoothing=label_smoothing)


def of_spans(outputs: Tensor, targets: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
    """Cross-entropy of scores of the first and of the last token (B, N, 2), with their places (B, 2)."""
    return of_classes(*as_spans(outputs, targets), label_smoothing=label_smoothing)


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


def of_numbers(outputs: Tensor, targets: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
    """Mean squared error of scores (B, 1) or (B, K), with numbers (B,) or (B, K)."""
    if label_smoothing:
        raise ValueError("label_smoothing= is for classes, and these targets are numbers.")
    return F.mse_loss(outputs.reshape(targets.shape), targets.to(outputs.dtype))


# ------------------------------------------------------------------------------------------------ layouts
# (outputs, targets) -> (scores (P, K), classes (P,) or shares (P, K)) of the positions that count


def as_classes(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Of scores (B, K) with classes (B,) or shares (B, K)."""
    return outputs, targets


def as_tokens(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Of scores (B, N, K) with classes (B, N); -100 does not count."""
    counts = targets.flatten() != NO_TOKEN
    return outputs.flatten(0, 1)[counts], targets.flatten()[counts]


def as_next_tokens(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Of scores (B, N, K) with the texts (B, N) themselves: the token behind each."""
    return as_tokens(outputs[:, :-1], targets[:, 1:])


def as_spans(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Of scores of the first and of the last token (B, N, 2), with their places (B, 2)."""
    return outputs.movedim(2, 1).flatten(0, 1), targets.flatten()


def as_pixels(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Of scores (B, K, H, W) with masks (B, H, W)."""
    wanted = targets.flatten().long()
    counts = wanted != IGNORED
    return outputs.movedim(1, -1).flatten(0, -2)[counts], wanted[counts]


def as_pairs(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Of one logit (B, 1) with classes 0 and 1 (B,), or shares of yes: scores of no and of yes.

    Their softmax has the probability that is the logit's sigmoid.
    """
    scores = F.pad(outputs, (1, 0))
    if not targets.is_floating_point():
        return scores, targets
    yes = targets.float()
    return scores, torch.stack((1 - yes, yes), 1)
