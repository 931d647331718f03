"""A network that finds objects in a picture: its targets and its figures.

Shapes: G objects of one picture, D detections of one picture.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from typing import Any

import numpy as np
import torch

from zoo.tasks.targets import Targets


class Boxes(Targets):
    """Dicts with `boxes` (G, 4), corners in pixels of the network's input, and `labels` (G,)."""

    usual = ("boxes", "bboxes", "objects")

    def in_memory(self, targets: Any, count: int) -> list[dict[str, Any]]:
        found = list(targets)
        if len(found) != count:
            raise ValueError(f"{count} pictures need as many targets, not {len(found)}.")
        for place, one in enumerate(found):
            if not isinstance(one, Mapping) or not {"boxes", "labels"} <= set(one):
                raise ValueError(f"targets are dicts with boxes and labels, and number {place} is none.")
        return [dict(one) for one in found]


class AveragePrecision:
    """COCO's average precision, by pycocotools: over overlaps from 0.5 to 0.95 ("AP"), and at 0.5 ("AP50"), in percent.

    Up to 100 detections of a picture count (Lin et al., 2014). Boxes and targets are in the same pixels; of which size
    changes nothing, because overlaps keep when both axes are scaled.
    """

    def __init__(self, metric: str, source: str) -> None:
        self._metric, self._source = metric, source
        self._truth: list[dict[str, Any]] = []
        self._found: list[dict[str, Any]] = []
        self._pictures, self._classes, self._figures = 0, set[int](), dict[str, float]()
        self._of_classes: dict[int, float] = {}

    def add(self, outputs: Sequence[Mapping[str, Any]], targets: Sequence[Mapping[str, Any]]) -> None:
        """One batch: detections with `boxes` (D, 4), `scores` (D,) and `labels` (D,), and what is there."""
        for found, target in zip(outputs, targets, strict=True):
            self._pictures += 1
            boxes, labels = _array(target["boxes"]).reshape(-1, 4), _array(target["labels"]).astype(int)
            if (size := getattr(outputs, "size", None)) and "size" in target:  # of the network's input, of the picture
                width, height = (there / here for there, here in zip(size[::-1], target["size"][::-1], strict=True))
                boxes = boxes * [width, height, width, height]
            self._classes |= set(labels.tolist())
            for box, label in zip(boxes, labels, strict=True):
                self._truth.append(self._row(box, label, iscrowd=0, id=len(self._truth) + 1))
            scores = _array(found["scores"])
            every = zip(_array(found["boxes"]).reshape(-1, 4), _array(found["labels"]).astype(int), scores, strict=True)
            for box, label, score in every:
                self._found.append(self._row(box, label, score=float(score)))
        self._figures = {}

    def seen(self) -> Any:
        return self._truth, self._found, self._pictures, self._classes

    def join(self, seen: Any) -> None:
        truth, found, pictures, classes = seen
        before = self._pictures
        for one in truth:
            self._truth.append({**one, "image_id": one["image_id"] + before, "id": len(self._truth) + 1})
        self._found += [{**one, "image_id": one["image_id"] + before} for one in found]
        self._pictures += pictures
        self._classes |= classes
        self._figures = {}

    def figures(self) -> dict[str, float]:
        """Raises ValueError where no picture has an object."""
        self._measure()
        return self._figures

    def per_class(self) -> dict[int, float]:
        """The average precision of each class that a picture has."""
        self._measure()
        return self._of_classes

    def _row(self, box: np.ndarray, label: int, **more: Any) -> dict[str, Any]:
        left, top, right, bottom = map(float, box)
        width, height = right - left, bottom - top
        told = {"image_id": self._pictures, "category_id": int(label), "bbox": [left, top, width, height]}
        return {**told, "area": width * height, **more}

    def _measure(self) -> None:
        if self._figures:
            return
        if not self._truth:
            raise ValueError(f"{self._source} has no picture with an object, so there is no {self._metric}.")
        coco, evaluation = _pycocotools()
        with redirect_stdout(io.StringIO()):  # it tells its progress
            truth = coco()
            categories = [{"id": number, "name": str(number)} for number in sorted(self._classes)]
            pictures = [{"id": number + 1} for number in range(self._pictures)]
            truth.dataset = {"images": pictures, "annotations": self._truth, "categories": categories}
            truth.createIndex()
            known = [one for one in self._found if one["category_id"] in self._classes]
            found = truth.loadRes(known) if known else coco()
            run = evaluation(truth, found, "bbox")
            run.params.areaRng, run.params.areaRngLbl = [[0, 1e10]], ["all"]
            if known:
                run.evaluate()
                run.accumulate()
        if not known:
            self._figures = {self._metric: 0.0, "AP50": 0.0}
            self._of_classes = dict.fromkeys(sorted(self._classes), 0.0)
            return
        precision = run.eval["precision"][:, :, :, 0, -1]  # overlaps, recalls, classes; of all sizes, up to 100 boxes
        self._figures = {self._metric: _percent(precision), "AP50": _percent(precision[:1])}
        self._of_classes = {one: _percent(precision[:, :, place]) for place, one in enumerate(sorted(self._classes))}


def _percent(precision: np.ndarray) -> float:
    return 100 * float(precision[precision > -1].mean())


def _array(values: Any) -> np.ndarray:
    return values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)


def _pycocotools() -> Any:
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError:
        raise ValueError("AP needs pycocotools: pip install 'zoo-efficient[dense]'.") from None
    return COCO, COCOeval
