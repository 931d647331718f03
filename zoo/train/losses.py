"""Losses that teach a student from a teacher, for any two networks that share a label set.

Shapes: B batch, K classes, C channels, H and W height and width.
"""

import torch.nn.functional as F
from torch import Tensor


def soft_labels(student: Tensor, teacher: Tensor, *, temperature: float = 4.0) -> Tensor:
    """Kullback-Leibler divergence of softened answers, times temperature squared (Hinton et al., 2015).

    `student` and `teacher` are logits (B, K); a scalar, the mean over the batch, comes back.
    """
    _check_equal_shapes(student, teacher)
    return temperature**2 * F.kl_div(
        F.log_softmax(student / temperature, 1),
        F.log_softmax(teacher / temperature, 1),
        reduction="batchmean",
        log_target=True,
    )


def distillation(
    student: Tensor,
    teacher: Tensor,
    labels: Tensor,
    *,
    temperature: float = 4.0,
    weight: float = 0.9,
    label_smoothing: float = 0.0,
) -> Tensor:
    """`weight` parts of `soft_labels`, the rest cross-entropy with the true labels (B,), or shares (B, K)."""
    hard = F.cross_entropy(student, labels, label_smoothing=label_smoothing)
    return weight * soft_labels(student, teacher, temperature=temperature) + (1 - weight) * hard


def features(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared error of two feature maps (B, C, H, W) (FitNets: Romero et al., 2015).

    Widths must agree: put a 1x1 convolution, trained with the student, behind the narrower one.
    """
    _check_equal_shapes(student, teacher)
    return F.mse_loss(student, teacher)


def attention_maps(student: Tensor, teacher: Tensor) -> Tensor:
    """Squared distance of normalised activation maps (Zagoruyko and Komodakis, 2017).

    Widths may differ; heights and widths of the maps (B, C, H, W) must agree.
    """
    if student.shape[0] != teacher.shape[0] or student.shape[2:] != teacher.shape[2:]:
        raise ValueError(f"Attention maps need one batch and size: {tuple(student.shape)}, {tuple(teacher.shape)}.")

    def normalised(x: Tensor) -> Tensor:
        return F.normalize(x.pow(2).mean(1).flatten(1), dim=1)  # (B, H * W)

    return (normalised(student) - normalised(teacher)).pow(2).sum(1).mean()


def _check_equal_shapes(student: Tensor, teacher: Tensor) -> None:
    if student.shape != teacher.shape:
        raise ValueError(f"Student and teacher differ in shape: {tuple(student.shape)}, {tuple(teacher.shape)}.")
