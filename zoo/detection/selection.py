"""Which of many overlapping boxes are kept: the likeliest candidates, and non-maximum suppression.

Shapes: B pictures, N boxes, K classes, C candidates, D detections.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from zoo.detection.boxes import pairwise_iou
from zoo.detection.grid import Size

Candidates = tuple[Tensor, Tensor, Tensor]  # boxes (B, C, 4), scores (B, C), labels (B, C)
ROUNDS = 24  # of suppression in tensors; enough wherever no chain of overlapping boxes is longer


@dataclass(frozen=True)
class Limits:
    """What is kept, in the words of torchvision.

    Args:
        score_thresh (float): boxes with a lower score are left out.
        nms_thresh (float): of two boxes of a class that overlap by more, as intersection over union, the one with the
            lower score is left out.
        detections_per_img (int): how many boxes a picture has at most.
        topk_candidates (int): how many boxes, of all classes together, are looked at before suppression.
    """

    score_thresh: float
    nms_thresh: float
    detections_per_img: int
    topk_candidates: int


class Code(Protocol):
    """What makes scores and boxes of the last row's output, such as a `zoo.detection.ssd.SSDBoxes`."""

    def scores(self, raw: Tensor) -> Tensor: ...

    def decode(self, raw: Tensor, grid: tuple[Tensor, ...], size: Size) -> Tensor: ...


def candidates(code: Code, raw: Tensor, grid: tuple[Tensor, ...], size: Size, most: int) -> Candidates:
    """The pairs of a position and a class with the highest scores: boxes (B, C, 4), scores (B, C) and labels (B, C).

    Only their boxes are decoded. `raw` is (B, N, ...), each part of the `grid` (N, ...).
    """
    scores = code.scores(raw)
    classes = scores.shape[2]
    best, place = scores.flatten(1).topk(min(most, scores.shape[1] * classes), dim=1)
    at = torch.div(place, classes, rounding_mode="floor")
    chosen = raw.gather(1, at[..., None].expand(-1, -1, raw.shape[2]))
    return code.decode(chosen, tuple(part[at] for part in grid), size), best, place - at * classes


def kept(found: Candidates, limits: Limits) -> list[dict[str, Tensor]]:
    """Of each picture the detections, the best first, as torchvision's dicts; suppression is torchvision's."""
    batched_nms = _torchvision()
    pictures = []
    for box, score, label in zip(*found, strict=True):
        likely = score > limits.score_thresh
        box, score, label = box[likely], score[likely], label[likely]
        keep = batched_nms(box, score, label, limits.nms_thresh)[: limits.detections_per_img]
        pictures.append({"boxes": box[keep], "scores": score[keep], "labels": label[keep]})
    return pictures


def fixed(found: Candidates, limits: Limits) -> Tensor:
    """The same in one tensor of a fixed size (B, D, 6), by operators that every runtime has.

    A row is x1, y1, x2, y2, score and label. Rows behind the last detection have the score 0 and the label -1.
    Suppression runs in rounds over all pairs of candidates (Cluster-NMS: Zheng et al., 2020), until what is kept no
    longer changes.
    """
    box, score, label = found
    over = (pairwise_iou(box, box) > limits.nms_thresh) & (label[:, :, None] == label[:, None, :])
    over = over.to(box.dtype).tril(-1)  # row: who is suppressed; column: by whom, of higher score
    keep = torch.ones_like(score)[..., None]
    for _ in range(min(ROUNDS, score.shape[1])):
        keep = 1 - (over @ keep).clamp(max=1)
    alive = keep[..., 0] * (score > limits.score_thresh).to(score.dtype)
    score, place = (score * alive).topk(min(limits.detections_per_img, score.shape[1]), dim=1)
    there = (score > 0)[..., None]
    box = torch.where(there, box.gather(1, place[..., None].expand(-1, -1, 4)), 0.0)
    label = torch.where(there, label.gather(1, place)[..., None].to(box.dtype), -1.0)
    return torch.cat([box, score[..., None], label], -1)


def as_dicts(rows: Tensor) -> list[dict[str, Tensor]]:
    """Rows (B, D, 6) of `fixed` as torchvision's dicts."""
    found = []
    for picture in rows:
        there = picture[picture[:, 4] > 0]
        found.append({"boxes": there[:, :4], "scores": there[:, 4], "labels": there[:, 5].long()})
    return found


def _torchvision():  # type: ignore[no-untyped-def]
    try:
        from torchvision.ops import batched_nms
    except ImportError:
        raise ValueError("Detection needs torchvision: pip install 'zoo-efficient[dense]'.") from None
    return batched_nms
