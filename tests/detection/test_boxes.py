"""Boxes, grids, selection and losses against torchvision's, and against cases worked out by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torchvision.models.detection._utils import BoxCoder, SSDMatcher
from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.ssd import SSD
from torchvision.ops import box_iou, generalized_box_iou_loss, sigmoid_focal_loss

from zoo.detection import boxes as geometry
from zoo.detection import grid, selection
from zoo.detection.assignment import assigned
from zoo.detection.gfl import GFLBoxes, quality_focal_loss
from zoo.detection.ssd import SSDBoxes, matched

MAPS, SIZE = ((8, 10), (4, 5), (2, 3)), (64, 80)
SSD_ARGS = {"num_classes": 3, "aspect_ratios": (2.0, 3.0), "min_scale": 0.2, "max_scale": 0.95}
GFL_ARGS = {"num_classes": 3, "reg_max": 7, "strides": (8, 16, 32)}


class Given:
    """Raw outputs (B, N, 4 + K) that are boxes and scores."""

    def scores(self, raw: Tensor) -> Tensor:
        return raw[..., 4:]

    def decode(self, raw: Tensor, places: tuple[Tensor, ...], size: tuple[int, int]) -> Tensor:
        return raw[..., :4]


def likeliest(boxes: Tensor, scores: Tensor, most: int) -> selection.Candidates:
    return selection.candidates(Given(), torch.cat([boxes, scores], -1), (), SIZE, most)


def some_boxes(count: int, seed: int = 0, size: float = 60.0) -> Tensor:
    made = torch.Generator().manual_seed(seed)
    low = torch.rand(count, 2, generator=made) * size
    return torch.cat([low, low + 2 + torch.rand(count, 2, generator=made) * size / 2], 1)


def test_overlaps_are_those_of_torchvision() -> None:
    one, other = some_boxes(7), some_boxes(7, 1)
    torch.testing.assert_close(geometry.pairwise_iou(one, other), box_iou(one, other))
    batched = geometry.pairwise_iou(one[None], other[None])
    torch.testing.assert_close(batched[0], box_iou(one, other))
    wanted = generalized_box_iou_loss(one, other)
    torch.testing.assert_close(1 - geometry.generalized_iou(one, other), wanted, rtol=1e-5, atol=1e-5)


def test_offsets_are_those_of_torchvision_s_coder() -> None:
    coder, boxes, anchors = BoxCoder((10.0, 10.0, 5.0, 5.0)), some_boxes(9), some_boxes(9, 1)
    offsets = coder.encode_single(boxes, anchors)
    torch.testing.assert_close(geometry.encoded(boxes, anchors), offsets, rtol=1e-5, atol=1e-5)
    far = offsets * 20
    torch.testing.assert_close(geometry.decoded(far, anchors), coder.decode_single(far, anchors), rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(geometry.decoded(offsets, anchors), boxes, rtol=1e-4, atol=1e-4)


def test_sides_and_around_are_each_other_s_inverse() -> None:
    boxes, middles = some_boxes(5), torch.rand(5, 2) * 50
    torch.testing.assert_close(geometry.around(middles, geometry.sides(middles, boxes)), boxes)


@pytest.mark.parametrize("size", [(64, 80), (320, 320)])
def test_anchors_are_torchvision_s_default_boxes(size: tuple[int, int]) -> None:
    maker = DefaultBoxGenerator([[2, 3]] * 3, min_ratio=0.2, max_ratio=0.95)
    pictures = ImageList(torch.zeros(1, 3, *size), [size])
    (wanted,) = maker(pictures, [torch.zeros(1, 1, *one) for one in MAPS])
    torch.testing.assert_close(grid.anchors(MAPS, size, (2.0, 3.0), 0.2, 0.95), wanted, rtol=1e-5, atol=1e-4)


def test_points_are_the_middles_of_the_positions() -> None:
    middles, strides = grid.points(((2, 3), (1, 1)), (8, 16))
    assert middles.tolist() == [[4, 4], [12, 4], [20, 4], [4, 12], [12, 12], [20, 12], [8, 8]]
    assert strides.flatten().tolist() == [8] * 6 + [16]


def test_anchors_are_matched_as_torchvision_does() -> None:
    (anchors,) = SSDBoxes(SSD_ARGS).grid(MAPS, SIZE)
    for seed in range(5):
        objects = some_boxes(6, seed)
        wanted = SSDMatcher(0.5)(box_iou(objects, anchors))
        assert torch.equal(matched(objects, anchors), wanted.clamp(min=-1))
    assert (matched(torch.zeros(0, 4), anchors) == -1).all()


def torchvision_ssd() -> SSD:
    maker = DefaultBoxGenerator([[2, 3]] * 3, min_ratio=0.2, max_ratio=0.95)
    return SSD(torch.nn.Identity(), maker, SIZE, 4, head=torch.nn.Identity(), topk_candidates=5000)


def test_ssd_loss_and_detections_are_torchvision_s() -> None:
    ours, theirs = SSDBoxes(SSD_ARGS), torchvision_ssd()
    at = ours.grid(MAPS, SIZE)
    raw = torch.randn(2, len(at[0]), 8)
    head = {"cls_logits": raw[..., :4], "bbox_regression": raw[..., 4:]}
    targets = [{"boxes": some_boxes(5), "labels": torch.tensor([0, 1, 2, 0, 1])}, {"boxes": torch.zeros(0, 4)}]
    targets[1]["labels"] = torch.zeros(0, dtype=torch.int64)
    found = [theirs.proposal_matcher(box_iou(targets[0]["boxes"], at[0])), torch.full((len(at[0]),), -1)]
    plus = [{**one, "labels": one["labels"] + 1} for one in targets]
    wanted = theirs.compute_loss(plus, head, [at[0]] * 2, found)
    loss = ours.losses(raw, targets, at)
    torch.testing.assert_close(loss["boxes"], wanted["bbox_regression"], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(loss["classes"], wanted["classification"], rtol=1e-4, atol=1e-4)

    limits = selection.Limits(0.01, 0.45, 200, 5000)
    found = selection.candidates(ours, raw, at, SIZE, 5000)
    expected = theirs.postprocess_detections(head, [at[0]] * 2, [SIZE] * 2)
    for one, other in zip(selection.kept(found, limits), expected, strict=True):
        torch.testing.assert_close(one["boxes"], other["boxes"], rtol=1e-4, atol=1e-3)
        torch.testing.assert_close(one["scores"], other["scores"])
        assert torch.equal(one["labels"], other["labels"] - 1)


@pytest.mark.parametrize("seed", range(4))
def test_suppression_in_tensors_keeps_what_torchvision_keeps(seed: int) -> None:
    made = torch.Generator().manual_seed(seed)
    boxes = torch.stack([some_boxes(150, seed), some_boxes(150, seed + 9)])
    scores = torch.rand(2, 150, 3, generator=made)
    limits = selection.Limits(0.3, 0.4, 60, 300)
    found = likeliest(boxes, scores, 300)
    rows = selection.fixed(found, limits)
    assert rows.shape == (2, 60, 6)
    for one, other in zip(selection.as_dicts(rows), selection.kept(found, limits), strict=True):
        assert len(other["boxes"]) > 0
        for key, value in other.items():
            torch.testing.assert_close(one[key], value, rtol=0, atol=0)


@pytest.mark.parametrize("coder", [SSDBoxes(SSD_ARGS), GFLBoxes(GFL_ARGS)])
def test_the_boxes_of_candidates_are_those_of_all_positions(coder: SSDBoxes | GFLBoxes) -> None:
    at = coder.grid(MAPS, SIZE)
    raw = torch.randn(2, len(at[0]), 8 if isinstance(coder, SSDBoxes) else 35)
    boxes, scores, labels = selection.candidates(coder, raw, at, SIZE, 50)
    everything, all_scores = coder.decode(raw, at, SIZE), coder.scores(raw)
    for picture in range(2):
        wanted = all_scores[picture].flatten().topk(50)
        assert torch.equal(scores[picture], wanted.values) and torch.equal(labels[picture], wanted.indices % 3)
        torch.testing.assert_close(boxes[picture], everything[picture, wanted.indices // 3])


def test_a_row_behind_the_last_detection_is_empty() -> None:
    boxes = torch.tensor([[[0.0, 0, 10, 10], [0, 0, 10, 11], [20, 20, 30, 30]]])
    scores = torch.tensor([[[0.9], [0.8], [0.7]]])
    rows = selection.fixed(likeliest(boxes, scores, 100), selection.Limits(0.1, 0.5, 3, 100))
    wanted = [[0, 0, 10, 10, 0.9, 0], [20, 20, 30, 30, 0.7, 0], [0, 0, 0, 0, 0, -1]]
    torch.testing.assert_close(rows, torch.tensor([wanted]))


def test_simota_gives_an_object_the_positions_that_cost_least() -> None:
    at = grid.points(((4, 4),), (8,))
    objects, labels = torch.tensor([[0.0, 0, 16, 16], [16, 16, 32, 32]]), torch.tensor([0, 1])
    boxes = objects[0].repeat(16, 1)
    boxes[-1] = objects[1]  # one position finds the second object, all others the first
    found = assigned(boxes, torch.full((16, 2), 0.5), at, objects, labels)
    inside = [0, 1, 4, 5]
    assert all(found[one] == 0 for one in inside)
    assert found[15] == 1 and (found == 1).sum() == 1
    assert found[3] == -1  # it overlaps, but lies neither inside nor near the middle
    assert (assigned(boxes, torch.full((16, 2), 0.5), at, objects[:0], labels[:0]) == -1).all()


def test_a_position_that_two_objects_want_gets_the_cheaper_one() -> None:
    at = grid.points(((1, 1),), (8,))
    objects, labels = torch.tensor([[0.0, 0, 8, 8], [0, 0, 7, 8]]), torch.tensor([0, 1])
    scores = torch.tensor([[0.1, 0.9]])
    assert assigned(torch.tensor([[0.0, 0, 7, 8]]), scores, at, objects, labels).tolist() == [1]


def test_quality_focal_loss_of_hard_labels_is_the_focal_loss() -> None:
    logits = torch.randn(50)
    wanted = (torch.rand(50) > 0.5).float()
    focal = sigmoid_focal_loss(logits, wanted, alpha=-1, gamma=2, reduction="sum")
    torch.testing.assert_close(quality_focal_loss(logits, wanted), focal, rtol=1e-4, atol=1e-4)
    assert float(quality_focal_loss(torch.tensor([0.0]), torch.tensor([0.5]))) == 0


def gfl_raw(boxes: Tensor, at: tuple[Tensor, ...], logits: Tensor) -> Tensor:
    """Raw outputs (1, N, 3 + 32) that stand for these boxes: each distance shared between its two neighbours."""
    distances = (geometry.sides(at[0], boxes) / at[1]).clamp(0, 6.999)
    low = distances.long()
    spread = torch.full((len(boxes), 4, 8), -60.0)
    spread.scatter_(-1, low[..., None], (1 - (distances - low)).clamp(min=1e-9).log()[..., None])
    spread.scatter_(-1, low[..., None] + 1, (distances - low).clamp(min=1e-9).log()[..., None])
    return torch.cat([logits, spread.flatten(1)], 1)[None]


def test_gfl_decodes_distances_and_loses_little_where_all_is_right() -> None:
    coder = GFLBoxes(GFL_ARGS)
    at = coder.grid(MAPS, SIZE)
    target = {"boxes": torch.tensor([[10.0, 12, 40, 44]]), "labels": torch.tensor([1])}
    logits = torch.full((len(at[0]), 3), -20.0)
    raw = gfl_raw(target["boxes"].expand(len(at[0]), 4), at, logits)
    boxes, scores = coder.decode(raw, at, SIZE), coder.scores(raw)
    inside = (geometry.sides(at[0], target["boxes"]) > 0).all(1)
    torch.testing.assert_close(boxes[0, inside], target["boxes"].expand(int(inside.sum()), 4), atol=1e-2, rtol=0)
    assert float(scores.max()) < 1e-6
    right = logits.clone()
    object_of = assigned(boxes[0], scores[0], (at[0], at[1]), target["boxes"], target["labels"])
    right[object_of >= 0, 1] = 20.0  # though some of them lie outside, and can have no box that is right
    good, bad = (
        coder.losses(gfl_raw(target["boxes"].expand(len(at[0]), 4), at, one), [target], at) for one in (right, logits)
    )
    assert float(good["classes"]) < 0.1 < 1 < float(bad["classes"])
    assert float(good["boxes"]) < 0.3


def test_the_distances_next_to_the_right_one_are_taught() -> None:
    spread = torch.zeros(1, 4, 8, requires_grad=True)
    GFLBoxes(GFL_ARGS)._distances(spread, torch.tensor([[2.25, 0.0, 6.5, 99.0]])).sum().backward()
    pushed = (torch.full((4, 8), 1 / 8) - 4 * spread.grad[0]).round(decimals=4)
    assert pushed[0].tolist() == [0, 0, 0.75, 0.25, 0, 0, 0, 0]
    assert pushed[1].tolist() == [1, 0, 0, 0, 0, 0, 0, 0]
    assert pushed[2, 6:].tolist() == [0.5, 0.5] and pushed[3, 7] > 0.98


def test_a_picture_without_objects_teaches_the_background_alone() -> None:
    empty = [{"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}]
    for coder, width in ((SSDBoxes(SSD_ARGS), 8), (GFLBoxes(GFL_ARGS), 35)):
        at = coder.grid(MAPS, SIZE)
        positions = len(at[0])
        raw = torch.randn(1, positions, width, requires_grad=True)
        losses = coder.losses(raw, empty, at)
        assert all(one.item() == 0 for name, one in losses.items() if name != "classes")
        sum(losses.values()).backward()
        assert raw.grad is not None and raw.grad.isfinite().all()
