"""How alike two detectors answer: which objects of the one the other finds too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from zoo.detection.boxes import pairwise_iou
from zoo.detection.shown import SURE

OVERLAP = 0.5  # intersection over union of two boxes of one object
DOUBT = 0.5  # of `SURE`: an object that one network is sure of may have this share of the score in the other


def found_by_both(ours: Sequence[Mapping[str, Tensor]], theirs: Sequence[Mapping[str, Tensor]]) -> tuple[int, int]:
    """(objects that one network is sure of and that the other finds too, objects that one is sure of), of both.

    Their ratio is as F1: objects that got lost count, and so do new ones. Each box answers for one object. A score just
    below `SURE` is no other answer than one just above.
    """
    same = every = 0
    for one, other in zip(ours, theirs, strict=True):
        for sure, all_ in ((one, other), (other, one)):
            found, objects = _found(sure, all_)
            same, every = same + found, every + objects
    return same, every


def _found(sure: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> tuple[int, int]:
    """(how many of the sure objects `other` has, with the same label; how many there are)."""
    objects = sure["scores"] >= SURE
    able = other["scores"] >= SURE * DOUBT
    boxes, labels = sure["boxes"][objects], sure["labels"][objects]
    there, kinds = other["boxes"][able], other["labels"][able]
    if not len(boxes) or not len(there):
        return 0, len(boxes)
    overlap = pairwise_iou(boxes[None].float(), there[None].float())[0]
    overlap = overlap.masked_fill(labels[:, None] != kinds[None], 0.0)
    found = 0
    for row in range(len(boxes)):  # the surest first, as detections are sorted
        most, best = overlap[row].max(0)
        if most >= OVERLAP:
            overlap[:, best] = 0.0
            found += 1
    return found, len(boxes)
