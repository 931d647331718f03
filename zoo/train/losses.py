"""Losses that teach a student from a teacher, for any two networks that share a label set.

Shapes: B batch, K classes, C channels, H and W height and width.
"""

import torch.nn.functional as F
from torch import Tensor


def soft_labels(student: Tensor, teacher: Tensor, *, temperature: float = 4.0) -> Tensor:
    """Kullback-Leibler divergence of softened answers, times temperature squared (Hinton et al., 2015).

    Args:
        student (Tensor): logits (B, K).
        teacher (Tensor): logits (B, K).
        temperature (float): divides the logits; higher is softer. Default: 4.0.

    Returns:
        A scalar, the mean over the batch.

    Raises:
        ValueError: the shapes differ.

    Example:
        >>> logits = torch.randn(8, 10)
        >>> float(zoo.losses.soft_labels(logits, logits))
        0.0
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
    """`soft_labels` and cross-entropy with the true labels, weighted (Hinton et al., 2015).

    Args:
        student (Tensor): logits (B, K).
        teacher (Tensor): logits (B, K).
        labels (Tensor): classes (B,), or shares of the classes (B, K).
        temperature (float): as for `soft_labels`. Default: 4.0.
        weight (float): the share of `soft_labels`, from 0 to 1; the rest is cross-entropy. Default: 0.9.
        label_smoothing (float): smoothing of the true labels, from 0 to 1. Default: 0.0.

    Returns:
        A scalar, the mean over the batch.

    Raises:
        ValueError: the shapes of `student` and `teacher` differ.

    Example:
        >>> student = torch.randn(8, 10, requires_grad=True)
        >>> zoo.losses.distillation(student, torch.randn(8, 10), torch.arange(8)).backward()
    """
    hard = F.cross_entropy(student, labels, label_smoothing=label_smoothing)
    return weight * soft_labels(student, teacher, temperature=temperature) + (1 - weight) * hard


def features(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared error of two feature maps (FitNets: Romero et al., 2015).

    If the widths differ, put a 1x1 convolution, trained with the student, after the narrower map.

    Args:
        student (Tensor): a map (B, C, H, W).
        teacher (Tensor): a map (B, C, H, W).

    Returns:
        A scalar.

    Raises:
        ValueError: the shapes differ.

    Example:
        >>> float(zoo.losses.features(torch.zeros(2, 4, 8, 8), torch.ones(2, 4, 8, 8)))
        1.0
    """
    _check_equal_shapes(student, teacher)
    return F.mse_loss(student, teacher)


def attention_maps(student: Tensor, teacher: Tensor) -> Tensor:
    """Squared distance of normalised activation maps (Zagoruyko and Komodakis, 2017).

    Args:
        student (Tensor): a map (B, C, H, W).
        teacher (Tensor): a map (B, C', H, W), of any width.

    Returns:
        A scalar, the mean over the batch.

    Raises:
        ValueError: batch, height or width differ.

    Example:
        >>> narrow = torch.ones(2, 4, 8, 8)
        >>> float(zoo.losses.attention_maps(narrow, narrow.repeat(1, 2, 1, 1)))
        0.0
    """
    if student.shape[0] != teacher.shape[0] or student.shape[2:] != teacher.shape[2:]:
        raise ValueError(f"Attention maps need one batch and size: {tuple(student.shape)}, {tuple(teacher.shape)}.")

    def normalised(x: Tensor) -> Tensor:
        return F.normalize(x.pow(2).mean(1).flatten(1), dim=1)  # (B, H * W)

    return (normalised(student) - normalised(teacher)).pow(2).sum(1).mean()


def _check_equal_shapes(student: Tensor, teacher: Tensor) -> None:
    if student.shape != teacher.shape:
        raise ValueError(f"Student and teacher differ in shape: {tuple(student.shape)}, {tuple(teacher.shape)}.")
