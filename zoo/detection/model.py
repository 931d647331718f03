"""The class of networks that find objects: raw pictures or tensors in, torchvision's list of dicts out.

Shapes: B pictures, N answers, D detections.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from zoo import kinds
from zoo.detection.grid import Size
from zoo.detection.selection import Candidates, Limits, candidates, kept
from zoo.lazy import fetch
from zoo.model.build import Model
from zoo.spec import ModelSpec, SpecError

MOST_GRIDS = 8  # sizes of pictures whose anchors are kept


class Detections(list[dict[str, Tensor]]):
    """The objects in each of several pictures, as torchvision's detectors give them.

    A picture's dict has `boxes` (D, 4), x1, y1, x2 and y2 in pixels, `scores` (D,), the highest first, and `labels`
    (D,), numbers of `model.labels` that begin with 0.

    Args:
        pictures (Iterable[dict[str, Tensor]]): a dict for each picture.
        answer (Tensor): what they were made of, the output of the network's last row.
        size (Size): height and width of the pictures whose pixels boxes are told in.

    Example:
        >>> found = zoo.create("ssdlite", weights=None, num_classes=3)(torch.randn(1, 3, 320, 320))
        >>> sorted(found[0])
        ['boxes', 'labels', 'scores']
    """

    def __init__(self, pictures: Iterable[dict[str, Tensor]], answer: Tensor, size: Sequence[int]) -> None:
        super().__init__(pictures)
        self.answer, self.size = answer, (int(size[0]), int(size[1]))


class Detector(Model):
    """A `Model` that ends in a detection head.

    In train mode its call gives what the last row gives, numbers (B, N, ...), for the loss.

    Args:
        spec (ModelSpec): the rows of the network, in order, and the pictures that it takes.

    Example:
        >>> model = zoo.create("gfl_pan", weights=None, num_classes=3)
        >>> found = model(torch.randn(2, 3, 320, 320))
        >>> len(found), found[0]["boxes"].shape[1]
        (2, 4)
    """

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__(spec)
        self._grids: dict[tuple[Any, ...], tuple[Tensor, ...]] = {}
        head = spec.rows[-1]
        if not kinds.KINDS[head.kind].boxes:
            raise SpecError(f"{spec.name} is for {spec.task} and ends in a {head.kind}, which gives no boxes.")

    def forward(
        self,
        x: Any,
        *,
        score_thresh: float | None = None,
        nms_thresh: float | None = None,
        detections_per_img: int | None = None,
        taps: Iterable[str] = (),
    ) -> Any:
        """Find the objects in pictures.

        Args:
            x (Any): what `zoo.preprocess(model)` makes, floats (B, channels, H, W); or one raw picture or a list, as
                `zoo.preprocess(model)` takes them.
            score_thresh (float | None): detections with a lower score are left out. Default: None, that of the head.
            nms_thresh (float | None): of two detections of a class that overlap by more, as intersection over union,
                the less likely one is left out. Default: None, that of the head.
            detections_per_img (int | None): how many a picture has at most. Default: None, those of the head.
            taps (Iterable[str]): names of rows whose outputs are returned too. Default: none.

        Returns:
            A `Detections`: a dict for each picture, with boxes in its own pixels, as it came. In train mode and on the
            meta device the output of the last row. With `taps`, a pair: that, and {row name: output of that row}.

        Raises:
            ValueError: `x` has a shape, dtype or device that the network does not take, or a limit is out of range.

        Example:
            >>> model = zoo.create("ssdlite", weights=None, num_classes=3)
            >>> images, _ = zoo.samples()
            >>> boxes = model(images[0], score_thresh=0.2)[0]["boxes"]
            >>> bool((boxes <= max(images[0].shape)).all())
            True
        """
        given = {"score_thresh": score_thresh, "nms_thresh": nms_thresh, "detections_per_img": detections_per_img}
        limits = self._limits_with({name: value for name, value in given.items() if value is not None})
        sizes: list[Size] = []
        if not isinstance(x, Tensor):
            x, sizes = self.read(x)
        taps = tuple(taps)
        answer = super().forward(x, taps=taps)
        raw, tapped = answer if taps else (answer, {})
        if self.training or raw.is_meta:
            return answer
        found = Detections(kept(self.candidates(raw, x.shape[2:], limits), limits), raw, x.shape[2:])
        found = self.in_own_pixels(found, x, sizes)
        return (found, tapped) if taps else found

    @cached_property
    def boxes(self) -> Any:
        """What makes boxes of the last row's output, such as a `zoo.detection.ssd.SSDBoxes`."""
        head = self.spec.rows[-1]
        return fetch(kinds.KINDS[head.kind].boxes)(kinds.arguments(head))

    @property
    def limits(self) -> Limits:
        """What is kept of the boxes (Limits); `zoo.edit(model, row, score_thresh=...)` changes it.

        Example:
            >>> zoo.create("ssdlite", weights=None).limits.nms_thresh
            0.45
        """
        args = kinds.arguments(self.spec.rows[-1])
        return Limits(**{field.name: args[field.name] for field in fields(Limits)})

    def raw(self, x: Tensor, *, taps: Iterable[str] = ()) -> Any:
        """The output of the last row.

        Args:
            x (Tensor): prepared pictures (B, channels, H, W).
            taps (Iterable[str]): names of rows whose outputs are returned too. Default: none.

        Returns:
            Numbers (B, N, ...), as `boxes` reads them. With `taps`, a pair: those, and {row name: output of that row}.
        """
        return super().forward(x, taps=taps)

    def decode(self, raw: Tensor, size: Sequence[int]) -> tuple[Tensor, Tensor]:
        """All boxes and scores of a raw output, in float32.

        Args:
            raw (Tensor): the output of the last row, (B, N, ...).
            size (Sequence[int]): height and width of the pictures that it is of.

        Returns:
            Boxes (B, N, 4), within a picture of that size, and the scores (B, N, K) of all classes.

        Example:
            >>> model = zoo.create("ssdlite", weights=None, num_classes=3)
            >>> boxes, scores = model.decode(model.raw(torch.randn(1, 3, 64, 64)), (64, 64))
            >>> boxes.shape[:2] == scores.shape[:2], scores.shape[2]
            (True, 3)
        """
        at: Size = (int(size[0]), int(size[1]))
        raw = raw.float()
        return self.boxes.decode(raw, self.grid(at, raw.device), at), self.boxes.scores(raw)

    def candidates(self, raw: Tensor, size: Sequence[int], limits: Limits | None = None) -> Candidates:
        """The likeliest boxes of a raw output, before suppression.

        Args:
            raw (Tensor): the output of the last row, (B, N, ...).
            size (Sequence[int]): height and width of the pictures that it is of.
            limits (Limits | None): `topk_candidates` says how many. Default: None, those of the head.

        Returns:
            Boxes (B, C, 4), within a picture of that size, scores (B, C), the highest first, and labels (B, C).

        Example:
            >>> model = zoo.create("ssdlite", weights=None, num_classes=3)
            >>> boxes, scores, labels = model.candidates(model.raw(torch.randn(1, 3, 64, 64)), (64, 64))
            >>> boxes.shape[:2] == scores.shape == labels.shape
            True
        """
        at: Size = (int(size[0]), int(size[1]))
        most = (limits or self.limits).topk_candidates
        return candidates(self.boxes, raw.float(), self.grid(at, raw.device), at, most)

    def losses(self, raw: Tensor, targets: Sequence[Mapping[str, Tensor]], size: Sequence[int]) -> dict[str, Tensor]:
        """The parts of the training loss.

        Args:
            raw (Tensor): the output of the last row, (B, N, ...).
            targets (Sequence[Mapping[str, Tensor]]): for each picture `boxes` (G, 4), in its pixels, and `labels` (G,).
            size (Sequence[int]): height and width of the pictures.

        Returns:
            A scalar for each part, such as "classes" and "boxes"; training minimises their sum.

        Raises:
            ValueError: a target has another form, a box of no size, or a label that the network does not know.

        Example:
            >>> model = zoo.create("gfl_pan", weights=None, num_classes=3).train()
            >>> target = {"boxes": torch.tensor([[8.0, 8, 40, 48]]), "labels": torch.tensor([1])}
            >>> sorted(model.losses(model(torch.randn(1, 3, 64, 64)), [target], (64, 64)))
            ['boxes', 'classes', 'distances']
        """
        at: Size = (int(size[0]), int(size[1]))
        checked = [checked_target(one, place, self.boxes.classes, raw.device) for place, one in enumerate(targets)]
        if len(checked) != len(raw):
            raise ValueError(f"{len(raw)} pictures need as many targets, not {len(checked)}.")
        return self.boxes.losses(raw.float(), checked, self.grid(at, raw.device))  # type: ignore[no-any-return]

    def grid(self, size: Size, device: torch.device) -> tuple[Tensor, ...]:
        """The anchors or points of pictures of `size`, as `boxes` takes them."""
        key = (size, device)
        if key not in self._grids:
            shapes = dict(zip([row.name for row in self.spec], kinds.row_shapes(self.spec, size), strict=True))
            head = self.spec.rows[-1]
            maps = [shapes[name][1:] for name in (self.spec.rows[-2].name, *head.taps)]
            while len(self._grids) >= MOST_GRIDS:
                self._grids.pop(next(iter(self._grids)))
            with torch.inference_mode(False):
                self._grids[key] = tuple(one.to(device) for one in self.boxes.grid(maps, size))
        return self._grids[key]

    def _limits_with(self, given: Mapping[str, Any]) -> Limits:
        if not given:
            return self.limits
        head = self.spec.rows[-1].replace(**given)
        args = kinds.arguments(head)  # checks the bounds
        return Limits(**{field.name: args[field.name] for field in fields(Limits)})

    def read(self, pictures: Any) -> tuple[Tensor, list[Size]]:
        """Prepare raw pictures.

        Args:
            pictures (Any): one picture or a list, as `zoo.preprocess(model)` takes them.

        Returns:
            The prepared pictures (B, channels, H, W), and the height and width of each as it came.

        Raises:
            ValueError: the network cuts pictures, so that their boxes cannot be told.
        """
        from zoo.data.pictures import picture_size, reopenable
        from zoo.data.preprocess import as_list, preprocess

        given = self.spec.pictures
        if given.crop != 1 or not given.squash:
            raise ValueError(
                f"{self.spec.name} cuts pictures, so boxes are not in their own pixels: give it what "
                "zoo.preprocess(model) makes."
            )
        several = [reopenable(one) for one in as_list(pictures)]  # for its pixels, then for its size
        x = preprocess(self)(several)
        return x.to(self.device, self.dtype), [picture_size(one) for one in several]

    def in_own_pixels(self, found: Detections, x: Tensor, sizes: Sequence[Size]) -> Detections:
        """Scale boxes from prepared pictures to the pictures as they came.

        Args:
            found (Detections): the detections in the pixels of `x`; they are changed in place.
            x (Tensor): the prepared pictures (B, channels, H, W).
            sizes (Sequence[Size]): height and width of each as it came; none where `x` came.

        Returns:
            `found`.
        """
        for one, (height, width) in zip(found, sizes, strict=bool(sizes)):
            one["boxes"] = one["boxes"] * one["boxes"].new_tensor([width / x.shape[3], height / x.shape[2]] * 2)
        return found

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_grids": {}}


def checked_target(target: Mapping[str, Tensor], place: int, classes: int, device: torch.device) -> dict[str, Tensor]:
    """A target on the device of the network; raises ValueError for one that no picture has."""
    if not isinstance(target, Mapping) or not {"boxes", "labels"} <= set(target):
        raise ValueError(f"Target {place} is no dict with boxes and labels.")
    boxes = torch.as_tensor(target["boxes"]).to(device, torch.float32)
    labels = torch.as_tensor(target["labels"]).to(device, torch.int64)
    if boxes.numel() == 0:
        boxes = boxes.reshape(0, 4)
    if boxes.dim() != 2 or boxes.shape[1] != 4 or labels.shape != boxes.shape[:1]:
        raise ValueError(
            f"Target {place} has boxes {tuple(boxes.shape)} and labels {tuple(labels.shape)}, not (G, 4) and (G,)."
        )
    if len(boxes) and not bool((boxes[:, 2:] > boxes[:, :2]).all() & boxes.isfinite().all()):
        raise ValueError(f"Target {place} has a box without width or height: boxes are x1, y1, x2, y2.")
    if len(boxes) and not bool(((labels >= 0) & (labels < classes)).all()):
        raise ValueError(f"Target {place} has a label that is not from 0 to {classes - 1}.")
    return {"boxes": boxes, "labels": labels}
