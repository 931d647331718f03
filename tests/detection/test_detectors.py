"""Every detector in every form: what its call gives, and that the passes keep it."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
from torchvision.models.detection.ssd import SSD
from torchvision.models.detection.ssdlite import SSDLiteHead

import zoo
from detection.networks import NAMES, SIZE, backbone, detector, pictures, spec
from zoo import kinds, registry
from zoo.detection.model import Detections, Detector
from zoo.engine.execution import reference_execution
from zoo.model.build import build
from zoo.spec import SpecError

VARIANTS = ("dense", "pruned", "sparse", "int8", "pruned-int8", "qat", "fused")


@pytest.fixture(scope="module")
def made() -> dict[tuple[str, str], Detector]:
    return {}


def variant(made: dict[tuple[str, str], Detector], name: str, form: str) -> Detector:
    if (name, form) not in made:
        model, x = detector(name), pictures(16, seed=5)
        if form == "qat":
            found = zoo.prepare_qat(model, x).eval()
        elif form == "fused":
            found = zoo.fuse(model)
        elif form == "dense":
            found = model
        else:
            found = zoo.compress(model, form, calibration=x if "int8" in form else None)
        made[name, form] = found
    return made[name, form]


@pytest.mark.parametrize("form", VARIANTS)
@pytest.mark.parametrize("name", NAMES)
def test_a_detector_in_every_form(name: str, form: str, made, tmp_path) -> None:
    model = variant(made, name, form)
    assert type(model) is Detector
    x = pictures(3)
    with torch.inference_mode():
        found = model(x)
        for one, picture in zip(found, x, strict=True):
            assert 0 < len(one["boxes"]) <= model.limits.detections_per_img
            assert one["boxes"].dtype == torch.float32 and one["labels"].dtype == torch.int64
            low, high = one["boxes"][:, :2], one["boxes"][:, 2:]
            assert (low >= 0).all() and (high >= low).all() and (high <= torch.tensor([SIZE[1], SIZE[0]])).all()
            assert (one["scores"].diff() <= 0).all() and (one["scores"] >= model.limits.score_thresh).all()
            assert len(one["scores"].unique()) > 5, "scores are alike"
            assert set(one["labels"].tolist()) <= {0, 1, 2}
            (alone,) = model(picture[None])
            near = 1e-3 if form in ("dense", "sparse", "pruned", "fused") else 1e-2
            torch.testing.assert_close(alone["scores"][:5], one["scores"][:5], rtol=0, atol=near)
        other = pictures(1, (32, 160), seed=3)  # another size
        (small,) = model(other)
        assert (small["boxes"][:, 3] <= 32).all() and small["boxes"][:, 2].max() > 96
    if form in ("qat", "fused"):
        return
    zoo.save(model, tmp_path / "m")
    again = zoo.load(tmp_path / "m")
    with torch.inference_mode():
        torch.testing.assert_close(again.raw(x), found.answer, rtol=1e-4, atol=1e-5)
        for one, two in zip(again(x), found, strict=True):
            torch.testing.assert_close(one["scores"], two["scores"], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_int8_is_near_the_dense_network_and_its_reference(name: str, made) -> None:
    dense, int8, qat = (variant(made, name, form) for form in ("dense", "int8", "qat"))
    assert all(row.precision == "int8" for row in int8.spec)
    head = int8.spec.rows[-1]
    edges = kinds.KINDS[head.kind].edges(kinds.arguments(head))
    assert len(int8.detector.edges) == len(edges) > len(head.taps)
    x = pictures(2)
    with torch.inference_mode():
        wanted, given = dense.raw(x), int8.raw(x)
        for part in (slice(0, -dense.boxes.numbers), slice(-dense.boxes.numbers, None)):  # each has its own scale
            near = torch.nn.functional.cosine_similarity(given[..., part].flatten(1), wanted[..., part].flatten(1))
            assert near.min() > 0.9
        with reference_execution():
            torch.testing.assert_close(int8.raw(x), given, rtol=0, atol=0.05 * float(given.abs().max()))
        near = torch.nn.functional.cosine_similarity(qat.raw(x).flatten(1), given.flatten(1))
        assert near.min() > 0.98


@pytest.mark.parametrize("name", NAMES)
def test_pruning_follows_channels_through_the_taps(name: str, made) -> None:
    dense, pruned = variant(made, name, "dense").spec, variant(made, name, "pruned").spec
    assert kinds.cost(pruned).macs < 0.8 * kinds.cost(dense).macs
    rows = pruned.rows
    assert rows[-1].args["in_channels"] < dense.rows[-1].args["in_channels"]
    assert kinds.row_shapes(pruned)[-1] == kinds.row_shapes(dense)[-1]


def test_the_call_in_every_mode() -> None:
    model, x = detector("gfl_pan"), pictures(2)
    with torch.inference_mode():
        found = model(x)
        raw = model.raw(x)
        assert isinstance(found, Detections) and isinstance(found, list)
        torch.testing.assert_close(found.answer, raw)
        again, taps = model(x, taps=["tower1_2"])
        assert taps["tower1_2"].shape[2:] == (8, 12) and len(again) == 2
        few = model(x, score_thresh=0.6, nms_thresh=0.3, detections_per_img=7)
        assert all(len(one["scores"]) <= 7 and (one["scores"] > 0.6).all() for one in few)
        edited = zoo.edit(model, "detector", score_thresh=0.6, nms_thresh=0.3, detections_per_img=7)
        for one, other in zip(edited(x), few, strict=True):
            assert torch.equal(one["boxes"], other["boxes"])
    model.train()
    assert model(x).shape == raw.shape
    with pytest.raises(SpecError, match="score_thresh is between"):
        model(x, score_thresh=2.0)
    with pytest.raises(ValueError, match="takes normalised floats"):
        model(torch.zeros(3, 8, 8))


@pytest.mark.parametrize("name", NAMES)
def test_boxes_are_in_the_pixels_of_the_picture_as_it_came(name: str) -> None:
    model = detector(name)
    made = np.random.default_rng(0).integers(0, 255, (30, 40, 3), np.uint8)
    picture = Image.fromarray(made).resize((384, 128))
    jpeg = io.BytesIO()
    picture.save(jpeg, "PNG")
    with torch.inference_mode():
        (own,) = model(picture)
        (prepared,) = model(zoo.preprocess(model)(picture))
        (from_bytes,) = model([jpeg.getvalue()])
    torch.testing.assert_close(own["boxes"], prepared["boxes"] * torch.tensor([4.0, 2.0, 4.0, 2.0]))
    assert torch.equal(own["boxes"], from_bytes["boxes"])
    turned = picture.copy()
    turned.getexif()[274] = 6  # a quarter turn
    exif, file = turned.getexif(), io.BytesIO()
    turned.save(file, "JPEG", exif=exif)
    with torch.inference_mode():
        (upright,) = model([file.getvalue()])
    assert upright["boxes"][:, 3].max() > 128 >= upright["boxes"][:, 2].max()


class _Maps(torch.nn.Module):
    """Our rows up to the head as torchvision's backbone."""

    def __init__(self, model: Detector) -> None:
        super().__init__()
        self.model, head = model, model.spec.rows[-1]
        self.rows = (model.spec.rows[-2].name, *head.taps)
        self.out_channels = [head.args["in_channels"], *(head.args[f"tap{i}_channels"] for i in range(len(head.taps)))]

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        kept = self.model(x, taps=self.rows)[1]
        return {row: kept[row] for row in self.rows}


def test_ssdlite_is_torchvision_s_with_the_same_weights() -> None:
    model, x = detector("ssdlite", (64, 64)), pictures(2, (64, 64))
    limits, maps = model.limits, _Maps(model)
    maker = DefaultBoxGenerator([[2, 3]] * 6, min_ratio=0.2, max_ratio=0.95)
    head = SSDLiteHead(maps.out_channels, [6] * 6, 4, torch.nn.BatchNorm2d)
    for level in range(6):
        for part, theirs in (("cls", head.classification_head), ("box", head.regression_head)):
            ours, own = model.detector.get_submodule(f"{part}{level}"), theirs.module_list[level]
            own[0][0].load_state_dict(ours.depthwise.conv.state_dict())
            own[0][1].load_state_dict(ours.depthwise.bn.state_dict())
            own[1].load_state_dict(ours.project.state_dict())
    plain = {"image_mean": [0.0] * 3, "image_std": [1.0] * 3, "topk_candidates": 100_000}
    kept = {"score_thresh": limits.score_thresh, "nms_thresh": limits.nms_thresh, "detections_per_img": 200}
    theirs = SSD(maps, maker, (64, 64), 4, head=head, **kept, **plain).eval()
    everything = zoo.edit(model, "detector", topk_candidates=4096)
    with torch.inference_mode():
        for one, other in zip(everything(x), theirs(list(x)), strict=True):
            assert len(one["boxes"]) == len(other["boxes"]) > 10
            torch.testing.assert_close(one["scores"], other["scores"], rtol=1e-5, atol=1e-5)
            torch.testing.assert_close(one["boxes"], other["boxes"], rtol=1e-5, atol=1e-3)
            assert torch.equal(one["labels"], other["labels"] - 1)


@pytest.mark.parametrize("backbone", ["mobilenetv3_small_050", "resnet18", "efficientnet_lite0", "mobilenetv1_100"])
@pytest.mark.parametrize("name", NAMES)
def test_any_backbone_with_maps(name: str, backbone: str) -> None:
    made = spec(name, (64, 64), registry.spec(backbone))
    assert kinds.check(made).rows[0] == registry.spec(backbone).rows[0]
    assert build(made, device="meta").spec.task == "object-detection"


def test_a_backbone_without_maps_is_refused() -> None:
    with pytest.raises(SpecError, match="0 maps before its pooling"):
        registry.spec("ssdlite", backbone=registry.spec("vit_tiny_patch16_224"))


def test_create_on_a_backbone_keeps_its_weights() -> None:
    body = build(backbone())
    model = zoo.create("ssdlite", backbone=body, num_classes=3)
    assert torch.equal(model.s2.expand.conv.weight, body.s2.expand.conv.weight)
    named = zoo.create("gfl_pan", backbone="resnet20", num_classes=5, weights=None)
    assert named.boxes.classes == 5 and named.spec.name == "gfl_pan"
    other = zoo.create(named.spec, num_classes=2)
    assert other.boxes.classes == 2
