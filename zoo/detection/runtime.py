"""A detector as exports and other runtimes have it: pictures to (B, D, 6), decoding and suppression included.

Shapes: B pictures, D detections, as many as the head's `detections_per_img`; N answers, K classes. A row of (B, D, 6)
is x1, y1, x2, y2 in pixels of the picture that goes in, score and label. Behind the last detection rows have the score
0 and the label -1.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
import torch.nn as nn
from torch import Tensor

from zoo.detection.boxes import pairwise_iou
from zoo.detection.grid import Size
from zoo.detection.model import Detections, Detector
from zoo.detection.selection import as_dicts, candidates, fixed
from zoo.files import FileError
from zoo.model.build import Model
from zoo.model.features import Features
from zoo.runtime.compiled import RuntimeModel
from zoo.runtime.signature import Signature, plain

CLOSE = {"float": 0.98, "int8": 0.85}  # how near each detection is to one that the network has
NEAR = {"float": 0.005, "int8": 0.05}  # mean distance of the scores in their order


class Ending(nn.Module):
    """A detector with its decoding for pictures of one size, as one module: (B, C, H, W) to (B, D, 6)."""

    def __init__(self, model: Detector, size: Size) -> None:
        super().__init__()
        self.model, self.size = model, size
        for number, part in enumerate(model.grid(size, model.device)):
            self.register_buffer(f"grid{number}", part.clone())

    def forward(self, x: Tensor) -> Tensor:
        grid = tuple(self.buffers(recurse=False))
        limits = self.model.limits
        found = candidates(self.model.boxes, self.model.raw(x), grid, self.size, limits.topk_candidates)
        return fixed(found, limits)


class DetectorSignature(Signature):
    """Answers are compared as sets of detections: which of two that are as likely comes first is left to rounding."""

    def check(self, found: Any, given: Sequence[Tensor], by: str) -> None:
        (rows,) = [found] if isinstance(found, Tensor) else found
        model: Any = self.model
        with torch.inference_mode():
            check_rows(rows, model, model.raw(*given), given[0].shape[2:], by)


def signature(model: Model, size: Size | None = None) -> Signature:
    """Of a detector for pictures of `size`, by default its own; a backbone gives its maps."""
    if isinstance(model, Features) or not isinstance(model, Detector):
        return plain(model)
    height, width = size or model.spec.pictures.size
    return DetectorSignature(Ending(model, (height, width)), model, ["input"], ["output"])


def check_rows(rows: Tensor, model: Detector, raw: Tensor, size: Sequence[int], by: str) -> None:
    """Raise FileError unless rows (B, D, 6) are detections that the network's `raw` answer for pictures of `size` has,
    in number and scores too."""
    boxes, scores = model.decode(raw, size)
    kind = "int8" if any(row.precision.startswith("int8") for row in model.spec) else "float"
    own = fixed(model.candidates(raw, size), model.limits)
    near = nearness(rows, boxes, scores)
    same = rows.shape == own.shape
    apart = float((rows[..., 4] - own[..., 4]).abs().mean()) if same else 1.0
    if not same or near < CLOSE[kind] or apart > NEAR[kind]:
        raise FileError(
            f"{by} gives other detections than {model.spec.name} (the scores differ by {apart:.3g}, and what is near "
            f"the network's own is {near:.3g} of 1): use another runtime."
        )


def nearness(rows: Tensor, boxes: Tensor, scores: Tensor) -> float:
    """How well each row (B, D, 6) stands for an answer of the network, its best: overlap less distance of the scores.

    The mean over all rows; 1 where there are none. `boxes` are (B, N, 4), `scores` (B, N, K).
    """
    best = []
    for found, box, score in zip(rows, boxes, scores, strict=True):
        there = found[found[:, 4] > 0]
        if len(there):
            of_label = score[:, there[:, 5].long()].T  # D, N
            apart = (of_label - there[:, 4:5]).abs()
            best.append((pairwise_iou(there[:, :4], box) - apart).amax(1))
    return float(torch.cat(best).mean()) if best else 1.0


class DetectorRuntimeModel(RuntimeModel):
    """A detector in another runtime: the same call and the same dicts."""

    def forward(self, x: Any, *, taps: Iterable[str] = ()) -> Any:  # type: ignore[override]
        """(B, channels, H, W), or raw pictures, to a `Detections`."""
        model: Any = self._source[0]
        sizes: list[Size] = []
        if not isinstance(x, Tensor):
            x, sizes = model.read(x)
        found = super().forward(x, taps=taps)
        if not isinstance(found, Tensor):  # the network's own answer, of what an engine does not take
            return found
        return model.in_own_pixels(Detections(as_dicts(found), found, x.shape[2:]), x, sizes)

    def _check(self, found: Tensor, own: Any, shape: tuple[int, ...]) -> None:
        model: Any = self._source[0]
        check_rows(found, model, own.answer, shape[2:], self.runtime)
